"""Writes the dashboards' JSON and the alerts' links, or tells what is out of date.

python -m dashboards [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dashboards import fleet, investigation, overview
from dashboards.board import as_json
from dashboards.settings import RUNBOOK

HERE = Path(__file__).resolve().parent


def texts() -> dict[Path, str]:
    """Return what each file must hold."""
    made = (overview.dashboard(), fleet.dashboard(), investigation.dashboard())
    jsons = {HERE / f"{each.uid}.json": as_json(each) for each in made}
    alerts = [HERE / "rules/forktrace.alerts.yml", *HERE.glob("rules/tests/*.yml")]
    return jsons | {path: _with_runbook(path.read_text()) for path in alerts}


def _with_runbook(text: str) -> str:
    return re.sub(r"(runbook_url: )[^#\s]*#", rf"\1{RUNBOOK}#", text)


def main() -> int:
    """Write, or with --check only compare; return the exit status."""
    stale = [
        path
        for path, text in texts().items()
        if not path.is_file() or path.read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is not what python -m dashboards makes.")
        return int(bool(stale))
    for path, text in texts().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
