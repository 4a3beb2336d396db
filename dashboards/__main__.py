"""Writes the dashboards' JSON beside this file, or tells that it is out of date.

python -m dashboards [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from dashboards import fleet, investigation, overview
from dashboards.panels import as_json

HERE = Path(__file__).resolve().parent


def texts() -> dict[Path, str]:
    """Return what each file must hold."""
    made = (overview.dashboard(), fleet.dashboard(), investigation.dashboard())
    return {HERE / f"{each.uid}.json": as_json(each) for each in made}


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
