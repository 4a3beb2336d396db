"""The README's table of kernels, from what the last tests on them left behind.

    python -m tests.live.matrix

Each guest writes what doctor and selftest say and how its tests went.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.lab import SERIES
from tests.lab.cache import cache_folder

RESULTS = cache_folder() / "results" / "kernels"
_ROOT = Path(__file__).parents[2]
_BEGIN, _END = "<!-- kernels: make test-matrix -->", "<!-- end of kernels -->"
_HEAD = (
    "| kernel | copies if | decisions from | attach | selftest | tests |",
    "|---|---|---|---|---|---|",
)


def row(folder: Path) -> str:
    """Return one kernel's line; raises FileNotFoundError when its tests did not end."""
    doctor = json.loads((folder / "doctor.json").read_text())
    selftest = json.loads((folder / "selftest.json").read_text())
    suite = next(ElementTree.parse(folder / "tests.xml").getroot().iter("testsuite"))
    count = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors")}
    bad = count["failures"] + count["errors"]
    tests = f"{count['tests'] - bad} of {count['tests']} passed"
    return (
        f"| {folder.name}: {doctor['kernel']} | {_rule(doctor['rule'])} "
        f"| {', '.join(doctor['sources'])} | {', '.join(doctor['attach'])} "
        f"| {_verdict(selftest)} | {tests} |"
    )


def _rule(rule: dict[str, Any]) -> str:
    sides = {
        side: "\\|".join(
            name.upper() for name, asked in rule["bits"].items() if asked == side
        )
        for side in ("dst", "src")
    }
    told = [f"{side} has {names}" for side, names in sides.items() if names]
    return f"{', or '.join(told)} (read from {rule['read_from']})"


def _verdict(selftest: dict[str, Any]) -> str:
    verdicts = [kind["verdict"] for kind in selftest["kinds"]]
    passed = "passed" if selftest["passed"] else "FAILED"
    return (
        f"{passed}: {verdicts.count('ok')} kinds, "
        f"{selftest['witnessed']} VMAs witnessed, "
        f"{selftest['disagreements']} disagreements"
    )


def table() -> list[str]:
    """Return the table, oldest kernel first."""
    order = {name: place for place, name in enumerate(SERIES)}
    folders = sorted(
        RESULTS.iterdir(), key=lambda folder: (order.get(folder.name, 99), folder.name)
    )
    return [*_HEAD, *(row(folder) for folder in folders)]


def main() -> None:
    """Print the table and put it into the README."""
    lines = table()
    print(*lines, sep="\n")
    readme = _ROOT / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text("\n".join([before + _BEGIN, "", *lines, "", _END + after]))


if __name__ == "__main__":
    main()
