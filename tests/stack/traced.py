"""In the guest of ``make stack``: forktrace and what forks, until told to stop.

    python -m tests.stack.traced

Copies what the daemon serves to the folder $RESULTS, over and over, and ends when a
file ``stop`` is there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from forktrace.errors import EXIT_FAILED, ForktraceError
from tests.demo.tracer import Tracer
from tests.patience import PATIENCE
from tests.stack.workload import Workload

LISTEN = "127.0.0.1:19435"
PAGES = {"index.html": "/", "healthz": "/healthz", "metrics": "/metrics"}
"""File to path; the last one to be written tells that all are there."""
EVERY_SECONDS = 5


def copy_pages(results: Path) -> None:
    """Replace each file by what is served now, never by a part of it."""
    for name, path in PAGES.items():
        with urllib.request.urlopen(f"http://{LISTEN}{path}", timeout=PATIENCE) as page:
            (results / ".new").write_bytes(page.read())
        (results / ".new").replace(results / name)


def main() -> int:
    """Trace; return the exit status."""
    results = Path(os.environ["RESULTS"])
    try:
        with ExitStack() as stack:
            scratch = tempfile.TemporaryDirectory(dir="/dev/shm")
            folder = Path(stack.enter_context(scratch))
            workload = stack.enter_context(Workload(folder))
            watch = ("--watch", "redis-server", "--watch", "sh")
            run = ("run", "--listen", LISTEN, "--self-stats", *watch)
            stack.enter_context(Tracer(folder, "Metrics on", *run))
            workload.start()
            while not (results / "stop").exists():
                copy_pages(results)
                time.sleep(EVERY_SECONDS)
    except ForktraceError as error:
        print(f"{error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    except OSError as error:
        print(f"forktrace does not answer: {error}", flush=True)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
