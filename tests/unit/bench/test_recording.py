"""The made-up recording of the benchmark is one that record could have written."""

from __future__ import annotations

from pathlib import Path

from forktrace.report.command import read
from tests.bench.recording import write


def test_it_is_whole_and_always_the_same(tmp_path: Path) -> None:
    write(tmp_path / "one", 500)
    write(tmp_path / "two", 500)
    study = read(tmp_path / "one")
    assert study.forks == 500
    assert study.ended == "duration"
    assert all(dear.fork.details for dear in study.costliest)
    assert study.to_json() == read(tmp_path / "two").to_json()
