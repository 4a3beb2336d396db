"""Two recordings side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.errors import UsageError
from forktrace.model import Fork
from forktrace.report.command import compare, read
from forktrace.report.study import Study
from forktrace.views.compare import lines
from tests.unit.recording.samples import MS, fork, write


def of(path: Path, forks: Iterable[Fork]) -> Study:
    return read(write(path, forks, execs=()))


@pytest.fixture
def said(tmp_path: Path) -> list[str]:
    guarded = [fork(n, 40 * MS, trigger="maybe_guard") for n in range(4)]
    better = [replace(fork(n, 10 * MS), page_table_bytes=4096) for n in range(2)]
    return lines(
        of(tmp_path / "a", guarded),
        of(tmp_path / "b", [*better, fork(3, 10 * MS, comm="sh")]),
    )


def test_the_first_sentence_is_the_answer(said: list[str]) -> None:
    assert said[0] == (
        "Half of the forks took at most 40 ms before and 10 ms after; the longest took "
        "40 ms before and 10 ms after."
    )


@pytest.mark.parametrize(
    "row",
    [
        "forks 4 3 -25%",
        "failed 0 0",
        "p99 40 ms 10 ms -75%",
        "on average: whole fork 40 ms 10 ms -75%",
        "  copying 36 ms 9 ms -75%",
        "    by maybe_guard 36 ms 0 ns -100%",
        "    by anon_vma 0 ns 9 ms",
        "  VMAs copied 2.0 2.0 +0%",
        "  page tables 8 KiB 5.33 KiB -33%",
        "  of redis-server 40 ms 10 ms -75%",
        "  of sh - 10 ms",
    ],
)
def test_each_row_has_both_and_the_change(said: list[str], row: str) -> None:
    assert row.split() in [line.split() for line in said]


def test_every_line_fits_a_terminal(said: list[str]) -> None:
    table = said[next(n for n, line in enumerate(said) if "BEFORE" in line) :]
    assert max(map(len, table)) <= 79


def test_without_forks_there_is_nothing_to_compare(tmp_path: Path) -> None:
    empty = of(tmp_path / "a", [])
    said = lines(empty, of(tmp_path / "b", [fork(1)]))
    assert said[0].startswith("There is no fork in one of the recordings")
    assert ["p50", "-", "10", "ms"] in [line.split() for line in said]


def test_as_json_it_is_both_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write(tmp_path / name, [fork(1)]) for name in ("a", "b")]
    assert compare(paths[0], paths[1], as_json=True, html=None) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["before"] == told["after"] == read(paths[0]).to_json()


def test_a_page_holds_one_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [fork(1)])
    with pytest.raises(UsageError, match="--html takes one recording"):
        compare(path, path, as_json=False, html=tmp_path / "page")
