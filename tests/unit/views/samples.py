"""Studies as report would make them, from recordings as record would write them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from forktrace.model import Fork
from forktrace.report.command import read
from forktrace.report.study import Study
from tests.unit.recording.samples import write

EVIL = "</script><img src=x onerror=alert(1)>\"'\n\ud800"


def study_of(folder: Path, forks: Iterable[Fork], **changes: Any) -> Study:
    return replace(read(write(folder / "r", forks)), **changes)
