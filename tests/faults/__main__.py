"""``make faults``: every fault on a real kernel; a table of what was promised and seen.

The tests are those in tests/live/guest that are marked ``fault``. They run in several
boots, two at once; the exit status is 1 unless every promise was held.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forktrace.errors import EXIT_FAILED, ForktraceError
from tests.lab import Machine, run_guest
from tests.lab.cache import REPOSITORY, cache_folder
from tests.live.guest.conftest import TABLE

KERNEL = "7.3"
SECONDS = 3600.0
FAULTS = "tests/live/guest/faults"


@dataclass(frozen=True)
class Boot:
    """Some of the tests, and what the kernel is booted with for them."""

    name: str
    tests: tuple[str, ...]
    cmdline: str = ""


BOOTS = (
    Boot("killed", (f"{FAULTS}/test_killed.py", f"{FAULTS}/test_processes.py")),
    Boot("host", (f"{FAULTS}/test_host.py", f"{FAULTS}/test_stopped.py")),
    Boot("limits", (f"{FAULTS}/test_limits.py", f"{FAULTS}/test_company.py")),
    Boot("older", ("tests/live/guest", f"--ignore={FAULTS}")),
    *(
        Boot(mode, (f"{FAULTS}/test_lockdown.py", "-k", mode), f"lockdown={mode}")
        for mode in ("integrity", "confidentiality")
    ),
)


def main() -> int:
    """Run what is asked for and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("boots", nargs="*", metavar="BOOT", help=", ".join(_names()))
    asked = parser.parse_args().boots or _names()
    boots = [boot for boot in BOOTS if boot.name in asked]
    with ThreadPoolExecutor(2) as two:
        try:
            lines = [line for found in two.map(outcomes, boots) for line in found]
        except KeyboardInterrupt:
            # The threads would wait for their guests, which end with this process.
            os._exit(130)
    print(*table(lines), sep="\n")
    return 0 if lines and all(line["held"] for line in lines) else EXIT_FAILED


def _names() -> list[str]:
    return [boot.name for boot in BOOTS]


def outcomes(boot: Boot) -> list[dict[str, Any]]:
    """Boot, try the faults, and return a line of each; one more where that failed."""
    results = cache_folder() / "results" / "faults" / boot.name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    print(f"faults: {boot.name}…", file=sys.stderr, flush=True)
    failed = ""
    try:
        ended = run_guest(
            KERNEL,
            [
                *(sys.executable, "-m", "pytest", "-m", "fault", *boot.tests),
                *("-p", "no:cacheprovider", "--timeout", "900", "--tb", "short"),
            ],
            results=results,
            cwd=REPOSITORY,
            machine=Machine(timeout=SECONDS, cmdline=boot.cmdline),
        )
        (results / "output").write_text(ended.output)
        # Tests that fail have lines of their own.
        if ended.status not in (0, 1):
            failed = f"pytest ended with {ended.status}"
    except ForktraceError as error:
        failed = f"{error.message} {error.advice}"
        (results / "output").write_text(error.details)
    lines = list(_read(results / TABLE))
    if failed:
        promised = "every fault is tried to its end"
        lines.append(
            {"fault": f"the boot of {boot.name}", "case": "", "promised": promised}
            | {"seen": failed, "held": False}
        )
    return lines


def _read(path: Path) -> Iterable[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return map(json.loads, text.splitlines())


WIDTHS = (34, 40, 60, 4)


def table(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Return the lines of the table, wrapped."""
    rows = [("FAULT", "PROMISED", "SEEN", "HELD")]
    for line in lines:
        case = f" [{line['case']}]" if line["case"] else ""
        held = "yes" if line["held"] else "NO"
        rows.append((line["fault"] + case, line["promised"], line["seen"], held))
    return [text for row in rows for text in _wrapped(row)]


def _wrapped(row: tuple[str, ...]) -> Iterable[str]:
    cells = [textwrap.wrap(cell, width) for cell, width in zip(row, WIDTHS)]
    for number in range(max(map(len, cells))):
        parts = [cell[number] if number < len(cell) else "" for cell in cells]
        yield "  ".join(
            f"{part:{width}}" for part, width in zip(parts, WIDTHS)
        ).rstrip()
    yield ""


if __name__ == "__main__":
    sys.exit(main())
