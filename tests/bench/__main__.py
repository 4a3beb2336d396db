"""Measures what tracing costs and holds it against the budgets: ``make bench``.

    python -m tests.bench [--kernel 7.3] [--results FOLDER]

Prints tables and keeps every figure in results.json of the results folder. Exits 1
when a budget is broken, 2 on wrong usage, 3 when something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError
from tests.bench import report
from tests.bench.figures import checks
from tests.bench.packages import bpftrace_root
from tests.bench.scrape import measure_scrapes
from tests.bench.startup import measure_starts
from tests.lab import LabError, Machine, debian_kernels, run_guest
from tests.lab.cache import REPOSITORY, cache_folder

BOOT_SECONDS = 590.0
MEMORY_MB = 2048


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kernel", default="7.3", help="a series (%(default)s)")
    parser.add_argument(
        "--results", type=Path, default=cache_folder() / "results/bench"
    )
    options = parser.parse_args()
    try:
        results = measure(options.kernel, options.results)
    except ForktraceError as error:
        print(f"error: {error.message}", error.advice, sep="\n", file=sys.stderr)
        return 3
    held = checks(results)
    (options.results / "results.json").write_text(json.dumps(results, indent=1))
    print(*report.lines(results, held), sep="\n")
    broken = [check.name for check in held if not check.holds]
    for name in broken:
        print(f"Budget broken: {name}", file=sys.stderr)
    return 1 if broken else 0


def measure(kernel: str, folder: Path) -> dict[str, Any]:
    """Measure here and in a guest; return everything that was found."""
    root = bpftrace_root()
    results = run_in_guest(kernel, root, folder)
    results["release"] = debian_kernels()[kernel].release
    results["start"] = measure_starts(root)
    results["scrape"] = measure_scrapes()
    return results


def run_in_guest(kernel: str, bpftrace: Path, folder: Path) -> dict[str, Any]:
    """Boot with instruction counting and return what tests.bench.guest found."""
    machine = Machine(icount=True, memory=MEMORY_MB, timeout=BOOT_SECONDS)
    result = run_guest(
        kernel,
        [sys.executable, "-m", "tests.bench.guest", bpftrace],
        results=folder,
        cwd=REPOSITORY,
        machine=machine,
        stream=sys.stderr.buffer,
    )
    if result.status:
        raise LabError("The guest could not measure.", details=result.output)
    found: dict[str, Any] = json.loads((folder / "guest.json").read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
