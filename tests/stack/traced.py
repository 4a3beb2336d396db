"""In the guest of ``make stack``: forktrace and what forks, until told to stop.

    python -m tests.stack.traced

Writes the metrics to the folder $RESULTS and ends when a file ``stop`` is there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.demo.tracer import Tracer
from tests.stack.workload import Workload


def main() -> int:
    """Trace; return the exit status."""
    results = Path(os.environ["RESULTS"])
    try:
        with ExitStack() as stack:
            scratch = tempfile.TemporaryDirectory(dir="/dev/shm")
            folder = Path(stack.enter_context(scratch))
            workload = stack.enter_context(Workload(folder))
            run = ("run", "--textfile", str(results), "--self-stats")
            stack.enter_context(Tracer(folder, "Metrics on", *run))
            workload.start()
            while not (results / "stop").exists():
                time.sleep(1)
    except ForktraceError as error:
        print(f"{error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
