"""Prints what each command says of a Redis and a shell: for the examples page.

python -m tests.lab --kernel 7.3 --memory 3072 -- python -m tests.demo.examples
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.demo.redis import Redis
from tests.demo.tracer import FORKTRACE
from tests.patience import PATIENCE

KEYS, VALUE_BYTES = 1000, 100_000
SHELL = "while :; do (exec /bin/true); sleep 0.5; done"


def show(command: str, *, root: bool = True) -> None:
    """Run a command of forktrace to its end and print it with what it says."""
    shown = f"{'sudo ' if root else ''}forktrace {command}"
    said = subprocess.run(
        [FORKTRACE, *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    print(f"$ {shown}", said.stdout, sep="\n", flush=True)


@contextmanager
def while_forking(redis: Redis, *arguments: str, wait: bool = True) -> Iterator[None]:
    """Let Redis save while a command traces; print what that says at its end.

    Without ``wait`` its child is still at it when this is entered.
    """
    with subprocess.Popen(
        [FORKTRACE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        while process.stderr.readline().startswith(b"forktrace: still "):
            pass
        try:
            if wait:
                redis.save()
            else:
                redis.begin_to_save()
            yield
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    print(f"$ sudo forktrace {' '.join(arguments)}")
    print(out.decode(), err.decode(), sep="", flush=True)


def main() -> None:
    """Start both, and let every command look."""
    folder = Path(tempfile.mkdtemp(dir="/run"))
    os.chdir(folder)
    # A save takes half a second, in which memory can be written to.
    options = ("--rdb-key-save-delay", "500")
    with (
        Redis(folder, options=options) as redis,
        subprocess.Popen(["/bin/sh", "-c", SHELL]) as shell,
    ):
        redis.fill(KEYS, VALUE_BYTES)
        show("doctor")
        with while_forking(redis, "trace", "--count", "6"):
            pass
        with while_forking(redis, "trace", "--vmas", "--comm", "redis-server"):
            redis.save()
            stop_tracing()
        with while_forking(redis, "trace", "--stacks", "--comm", "redis-server"):
            stop_tracing()
        with while_forking(
            *(redis, "trace", "--cow", "--comm", "redis-server", "--count", "1"),
            wait=False,
        ):
            redis.overwrite(KEYS // 2, "x" * VALUE_BYTES)
        with while_forking(redis, "top", "--plain", "--interval", "4", "--count", "1"):
            pass
        with while_forking(
            redis, "record", "--stacks", "-o", "forks.gz", "--duration", "6"
        ):
            pass
        show("report forks.gz", root=False)
        show(f"explain {redis.pid}")
        show("explain --all --limit 5")
        show("selftest")
        shell.kill()


def stop_tracing() -> None:
    """Press Ctrl-C for everything that traces."""
    subprocess.run(["pkill", "-INT", "-f", "forktrace trace"], check=True)


if __name__ == "__main__":
    main()
