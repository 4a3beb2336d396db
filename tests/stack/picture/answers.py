"""What a real Prometheus answered to each panel, beside the panel's JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashboards import queries
from forktrace.errors import ForktraceError
from tests.demo.machine import REPOSITORY, newest_series
from tests.lab import Machine, run_guest
from tests.lab.cache import cache_folder
from tests.stack.guest import VALUES

SECONDS, SCRAPE_SECONDS = 420, 5
"""How long everything works, some minutes more pass before and after; and how often it
is scraped: so seldom that a busy machine has the time.
"""
GUEST_SECONDS = 3600

KINDS = ("range", "instant")
Answers = Mapping[str, Mapping[str, Any]]
"""Of each kind of query: query to the series that Prometheus gave for it."""


def kept(path: Path | None, *, fresh: bool = False) -> Answers:
    """Return the answers in a file, or those of a guest's run, kept from last time.

    A guest is booted where there are none, or not of all queries of today's panels.
    """
    folder = cache_folder() / "results" / "pictures"
    found = path or folder / "curves.json"
    if not path and (fresh or not found.exists() or _lacks(_read(found))):
        _ask_anew(folder)
    answers = _read(found)
    if missing := _lacks(answers):
        raise ForktraceError(f"{found} has no answer to {missing[0]}")
    return answers


def _ask_anew(folder: Path) -> None:
    print("Asking a forktrace in a virtual machine (ten minutes)…", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.stack.guest"]
    result = run_guest(
        newest_series(),
        [*command, str(SECONDS), str(SCRAPE_SECONDS)],
        results=folder,
        cwd=REPOSITORY,
        machine=Machine(timeout=GUEST_SECONDS),
    )
    if result.status != 0:
        raise ForktraceError(f"The virtual machine failed: {result.output[-500:]}")


def _read(path: Path) -> Answers:
    answers: Answers = json.loads(path.read_text())
    return answers


def _lacks(answers: Answers) -> list[str]:
    return [
        query.expression
        for query in queries.panels(VALUES)
        if query.expression not in answers.get(KINDS[query.instant], {})
    ]


def answered(dashboard: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """Return a dashboard each of whose targets has its ``answer``: a list of series."""
    made: dict[str, Any] = json.loads(json.dumps(dashboard))
    for panel in queries.all_panels(made):
        for target in panel.get("targets", ()):
            kind = KINDS[target.get("instant", False)]
            series = answers[kind][queries.substituted(target["expr"], VALUES)]
            # An instant query's series have one value, and that under another name.
            target["answer"] = [
                {"values": [each.get("value")], **each} for each in series
            ]
            target["legendFormat"] = queries.substituted(
                target.get("legendFormat", ""), VALUES
            )
    return made


def silent(dashboard: dict[str, Any]) -> list[str]:
    """Return the titles of an answered dashboard's panels that show no data."""
    return [
        panel["title"]
        for panel in queries.all_panels(dashboard)
        if "targets" in panel
        and not any(target["answer"] for target in panel["targets"])
    ]


def span(answers: Answers) -> tuple[float, float]:
    """Return when the first value was, and the last."""
    curves = (each for series in answers["range"].values() for each in series)
    times = [time for each in curves for time, _ in each["values"]]
    return min(times), max(times)
