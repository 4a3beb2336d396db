"""``make stack``: forktrace on a real kernel, scraped by a real Prometheus, to try.

On a host that can be traced it is this host's forktrace. Elsewhere it runs in a virtual
machine without a network, beside a Redis that snapshots and shell scripts: what it
serves is copied to a folder that both sides see, and served again from there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from forktrace.errors import EXIT_FAILED, ForktraceError, Unsupported
from forktrace.kernel.host import check_host
from tests.demo.__main__ import kernel_lacks
from tests.demo.machine import REPOSITORY, newest_series
from tests.demo.tracer import Tracer
from tests.lab import Machine, run_guest
from tests.lab.cache import cache_folder
from tests.stack.grafana import grafana
from tests.stack.prometheus import Prometheus, Target
from tests.stack.serving import Silent, serving

FORKTRACE = "127.0.0.1:19435"
INTERVAL = "15s"
GUEST_SECONDS = 24 * 3600.0
UP_SECONDS = 600.0
"""For a guest that hangs, or waits for its turn; one that fails says so at once."""


def main() -> int:
    """Run until Ctrl-C or --duration; return the exit status."""
    parser = argparse.ArgumentParser(prog="make stack")
    parser.add_argument("--duration", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--prometheus", default="127.0.0.1:9090", metavar="HOST:PORT")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with ExitStack() as stack:
            run(stack, options.prometheus)
            _wait(options.duration)
    except ForktraceError as error:
        print(f"stack: {error.message}", file=sys.stderr)
        if error.advice:
            print(f"stack: {error.advice}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"stack: {error.strerror or error}.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print()
    return 0


def run(stack: ExitStack, listen: str) -> None:
    """Start everything, and say where it is."""
    scratch = tempfile.TemporaryDirectory(prefix="stack-", dir=cache_folder())
    folder = Path(stack.enter_context(scratch))
    missing = kernel_lacks(check_host())
    if os.geteuid() != 0:
        raise Unsupported("This needs root.", "Run as root: make stack")
    if missing:
        print(
            f"This host's kernel cannot be traced: {'; '.join(missing)}. Starting "
            "Debian's newest in a virtual machine (a minute)…",
            flush=True,
        )
        target = stack.enter_context(_traced_guest(folder))
    else:
        watch = ("--watch", "redis-server", "--watch", "sh")
        command = ("run", "--listen", FORKTRACE, "--self-stats", *watch)
        stack.enter_context(Tracer(folder, "Metrics on", *command))
        target = Target(FORKTRACE)
    prometheus = stack.enter_context(Prometheus(folder, listen, [target], INTERVAL))
    print(f"forktrace   http://{target.address}/")
    print(f"Prometheus  {prometheus.url}/alerts and {prometheus.url}/graph")
    shown = stack.enter_context(grafana(folder, prometheus.url))
    print(f"Grafana     {shown or 'is not on this machine; see dashboards/README.md'}")
    print("Ctrl-C ends all of it.", flush=True)


def _wait(seconds: float) -> None:
    end = time.monotonic() + (seconds or GUEST_SECONDS)
    while time.monotonic() < end:
        time.sleep(0.2)


@contextmanager
def _traced_guest(folder: Path) -> Iterator[Target]:
    """Boot a guest whose metrics are served here for as long as this lasts."""
    results = folder / "guest"
    results.mkdir()
    command = [sys.executable, "-m", "tests.stack.traced"]
    ended: list[str] = []

    def guest() -> None:
        machine = Machine(timeout=GUEST_SECONDS)
        try:
            result = run_guest(
                newest_series(),
                command,
                results=results,
                cwd=REPOSITORY,
                machine=machine,
            )
            ended.append(result.output[-500:])
        except ForktraceError as error:
            ended.append(error.message)
        # What it told last is no longer true.
        (results / "metrics").unlink(missing_ok=True)

    thread = threading.Thread(target=guest)
    thread.start()
    try:
        deadline = time.monotonic() + UP_SECONDS
        while not (results / "metrics").exists():
            if ended or time.monotonic() > deadline:
                said = ended[0] if ended else f"not ready in {UP_SECONDS:g} s"
                raise ForktraceError(f"The virtual machine failed: {said}")
            time.sleep(0.2)
        with serving(partial(_Files, directory=str(results))) as address:
            yield Target(address)
    finally:
        (results / "stop").touch()
        thread.join()


class _Files(Silent, SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - theirs
        ".html": "text/html; charset=utf-8",
        "": "text/plain; version=0.0.4",
    }


if __name__ == "__main__":
    sys.exit(main())
