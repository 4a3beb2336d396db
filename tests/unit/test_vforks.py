"""Vforks one by one: as they are printed, recorded and reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.recording.reader import Recording
from forktrace.recording.records import Filters
from forktrace.report.command import read
from forktrace.tracing import SHOW_JSON, SHOW_LINES
from forktrace.vforks import LEAST_NS, Vfork, least_ns
from forktrace.views import report
from forktrace.views.html.sections import sections
from forktrace.views.lines import HEADER
from tests.unit.recording.samples import HEADER as BEGINNING
from tests.unit.recording.samples import MS, VFORK, write
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import EVIL


def test_without_a_bound_only_those_are_told_that_held_for_long() -> None:
    assert least_ns(0) == LEAST_NS == 10 * MS
    assert least_ns(3) == 3


def test_json_holds_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    SHOW_JSON.vfork(VFORK)
    record = json.loads(capsys.readouterr().out)
    assert (record["schema"], record["type"], record["held_ns"]) == (
        1, "vfork", 250 * MS
    )  # fmt: skip
    assert Vfork.from_json(record) == VFORK


def test_it_ends_by_exec_or_exit_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="ends by exec or exit"):
        Vfork.from_json({**VFORK.to_json(), "ended": "never"})


def test_it_is_one_line_under_the_header(capsys: pytest.CaptureFixture[str]) -> None:
    SHOW_LINES.vfork(replace(VFORK, comm="a\nb"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.index("a\\x0ab") == HEADER.index("COMM")
    assert line.index("72 vfork") + len("72") == HEADER.index("CHILD") + len("CHILD")
    assert line.endswith("vfork held its caller for 250 ms, until exec (thread worker)")


def test_a_recording_keeps_it(tmp_path: Path) -> None:
    with Recording(write(tmp_path / "r", execs=[VFORK])) as recording:
        assert VFORK in list(recording.records())


def many() -> list[Vfork]:
    return [replace(VFORK, child_pid=n, held_ns=n * MS) for n in range(11, 31)]


def test_a_report_has_the_longest_and_how_many_there_were(tmp_path: Path) -> None:
    study = read(write(tmp_path / "r", execs=many()))
    assert study.vforks == 20
    assert [each.child_pid for each in study.longest_vforks] == list(range(30, 20, -1))
    said = report.lines(study)
    heading = (
        "20 calls of vfork or posix_spawn held the caller for 10 ms or more; the 10"
    )
    place = next(n for n, line in enumerate(said) if heading in line)
    assert "30 ms at 12:00:00.050 by spawner[70] (thread worker) -> 30" in "".join(
        said[place + 1 : place + 3]
    )


def test_the_page_of_a_report_has_them_without_any_fork_too(tmp_path: Path) -> None:
    header = replace(BEGINNING, filters=Filters(min_duration_ns=MS))
    evil = replace(VFORK, comm=EVIL, thread=EVIL, cgroup=EVIL)
    study = read(write(tmp_path / "r", [], execs=[evil], header=header))
    parts = Parts(sections(study))
    assert "1 call of vfork or posix_spawn held the caller for 1 ms or more." in (
        parts.text
    )
    assert "250 ms" in parts.text
    assert "script" not in {tag for tag, _ in parts.tags}


def test_without_any_nothing_is_said(tmp_path: Path) -> None:
    study = read(write(tmp_path / "r"))
    assert "held the caller" not in "\n".join(report.lines(study)) + sections(study)
