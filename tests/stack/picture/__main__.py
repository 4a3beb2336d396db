"""``make pictures``: each dashboard as Grafana shows it, as dashboards/NAME.png.

    python -m tests.stack.picture [--fresh] [--answers FILE] [--folder FOLDER]

Panels, lines, figures, bars and tables are drawn by Grafana's own components from the
dashboard's JSON and a real Prometheus' answers; page.jsx says what is not. The answers
are kept: a guest is booted only where there are none to some query, and for --fresh.
FILE is a ``curves.json`` of tests.stack.guest (tests/live/test_stack.py leaves one in
.cache/results/stack).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from dashboards.queries import HERE as DASHBOARDS
from forktrace.errors import EXIT_FAILED, ForktraceError
from tests.patience import PATIENCE
from tests.stack.guest import VALUES
from tests.stack.picture.answers import answered, kept, silent, span
from tests.stack.picture.components import bundle
from tests.stack.serving import Silent, serving

WIDTH, BAR = 1680, 100
"""Pixels: of the whole, and of what stands above the panels."""
ROW = 38
"""One of Grafana's grid, with the gap below it."""
CHOSEN = {**VALUES, "job": "All", "datasource": "Prometheus"}

_PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>{name}</title>
<link rel="stylesheet" href="page.css"><style>body{{margin:0}}</style>
<div id="root"></div>
<script>window.DASHBOARD={dashboard};window.CHOSEN={chosen};window.RANGE={range}</script>
<script src="page.js"></script>
"""


def main() -> int:
    """Draw all of them; return the exit status: 1 where a panel has no data."""
    parser = argparse.ArgumentParser(prog="make pictures")
    parser.add_argument("--fresh", action="store_true", help="boot a guest anyway")
    parser.add_argument("--answers", type=Path, metavar="FILE")
    parser.add_argument("--folder", type=Path, default=DASHBOARDS)
    options = parser.parse_args()
    try:
        return _draw(options)
    except ForktraceError as error:
        print(f"pictures: {error.message} {error.advice}".rstrip(), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return EXIT_FAILED


def _draw(options: argparse.Namespace) -> int:
    answers = kept(options.answers, fresh=options.fresh)
    status = 0
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(partial(_Files, directory=scratch)) as address,
    ):
        bundle(Path(scratch))
        for path in sorted(DASHBOARDS.glob("forktrace-*.json")):
            dashboard = answered(json.loads(path.read_text()), answers)
            page = _PAGE.format(
                name=path.stem,
                dashboard=_script(dashboard),
                chosen=_script(CHOSEN),
                range=_script(span(answers)),
            )
            (Path(scratch) / f"{path.stem}.html").write_text(page)
            picture = options.folder / f"{path.stem}.png"
            _photograph(
                f"http://{address}/{path.stem}.html", _height(dashboard), picture
            )
            print(picture)
            for title in silent(dashboard):
                print(f"{path.stem}: {title}: no data", file=sys.stderr)
                status = EXIT_FAILED
    return status


def _script(content: Any) -> str:
    """Return it as JavaScript that may stand in HTML."""
    return json.dumps(content).replace("<", "\\u003c")


def _height(dashboard: dict[str, Any]) -> int:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    rows: int = max(place["y"] + place["h"] for place in places)
    return BAR + ROW * rows


class _Files(Silent, SimpleHTTPRequestHandler):
    """The page: from a file, the components could not fetch their icons."""


def _photograph(address: str, height: int, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        command = (
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
            *("--disable-quic", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--virtual-time-budget=20000"),
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{height}",
            f"--screenshot={picture.resolve()}",
            address,
        )
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PATIENCE
        )
    errors = [line for line in done.stderr.splitlines() if "Uncaught" in line]
    if errors:
        raise ForktraceError(f"{address} cannot be drawn: {errors[0]}")


if __name__ == "__main__":
    sys.exit(main())
