"""Traces a real redis-server's BGSAVEs on the kernel that runs here, as root.

    python -m tests.demo.guest

Says on stdout how far it is, in seconds since the boot, and leaves what it measured in
the folder $RESULTS.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from forktrace.errors import EXIT_FAILED, ForktraceError, UsageError
from forktrace.kernel.btf import Btf
from forktrace.kernel.running import RunningKernel
from forktrace.views.units import size
from tests.demo.measured import SERVER, Measured
from tests.demo.redis import Redis
from tests.demo.scrape import scrape
from tests.demo.tracer import Tracer

SAVES = 6
# Redis counts what its allocator does after the fork as well, some milliseconds
# of page faults under emulation: the fork has to be long beside that.
KEYS, VALUE_BYTES = 4_000, 100_000
LISTEN = "127.0.0.1:19435"


def main() -> int:
    """Measure and keep it; every error ends here in one line."""
    try:
        results = os.environ.get("RESULTS")
        if not results:
            raise UsageError("$RESULTS names no folder to write to.")
        measure().write(Path(results))
    except ForktraceError as error:
        print(f"demo: {error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    except OSError as error:
        print(f"demo: {error}", flush=True)
        return EXIT_FAILED
    return 0


def measure() -> Measured:
    """Fill a Redis, attach, make it BGSAVE, scrape; nothing of it is left behind."""
    with Btf.of_running_kernel() as btf:
        kernel = RunningKernel.read(btf)
    _say(f"Linux {kernel.release} is up")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_scratch()))
        redis = stack.enter_context(Redis(folder))
        redis.fill(KEYS, VALUE_BYTES)
        redis.take_precedence()
        info = redis.info()
        _say(
            f"redis-server {info['redis_version']} holds "
            f"{size(int(info['used_memory_dataset']))} in {KEYS:,} keys"
        )
        # First the one that watches Redis alone: the other then counts no fork of it.
        trace = stack.enter_context(
            Tracer(folder, "Tracing forks on", "trace", "--json", "--comm", SERVER)
        )
        _say(f"forktrace trace --json --comm {SERVER} is attached")
        run = stack.enter_context(
            Tracer(folder, "Metrics on", "run", "--listen", LISTEN)
        )
        _say(f"forktrace run --listen {LISTEN} is attached")
        _say(f"BGSAVE, {SAVES} times")
        saves = [redis.save() for _ in range(SAVES)]
        url = run.said("Metrics on")
        tracing = run.said("Tracing forks on").removesuffix(" Ctrl-C to stop.")
        metrics = scrape(url)
        run.end()
        forks = tuple(trace.end_and_read_forks())
    return Measured(
        kernel=kernel.release,
        tracing=tracing,
        rule=kernel.words(),
        redis_version=info["redis_version"],
        redis_pid=redis.pid,
        data_bytes=int(info["used_memory_dataset"]),
        url=url,
        saves=tuple(saves),
        forks=forks,
        metrics=metrics,
    )


@contextmanager
def _scratch() -> Iterator[str]:
    """Make a folder in memory for sockets, snapshots and logs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield folder


def _say(what: str) -> None:
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    print(f"{seconds:5.0f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
