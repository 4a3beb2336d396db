"""A discard by exec is shown after its fork, and only when its fork was shown."""

from __future__ import annotations

import json

import pytest

from forktrace import tracing
from forktrace.model import Exec, Fork
from forktrace.tracer.session import Wanted
from forktrace.tracing import SHOW_JSON, SHOW_LINES, AfterFork, Bounds
from forktrace.workload import Workload
from tests.unit.recording.samples import fork, vma
from tests.unit.recording.test_command import Traced, signals  # noqa: F401


def test_each_vma_has_the_name_of_its_mapping(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detailed = fork(0, details=(vma(0x1000, "anon_vma", 5), vma(0x3000, "anon_vma", 5)))
    SHOW_JSON.fork(detailed, {0x1000: "[heap]"})
    record = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in record["details"]] == ["[heap]", None]
    assert Fork.from_json(record) == detailed
    SHOW_LINES.fork(detailed, {0x1000: "[heap]"})
    _, heap, anonymous = capsys.readouterr().out.splitlines()
    assert heap.endswith("  [heap]")
    assert not anonymous.endswith("]")


def discard(pid: int) -> Exec:
    return Exec(pid, 1, "sh", after_ns=10, copy_ns=5, page_table_bytes=4096)


def test_it_comes_after_its_fork_whichever_the_kernel_told_first() -> None:
    shown: list[int] = []
    discards = AfterFork[Exec](lambda each: shown.append(each.pid))
    discards.take(discard(7))
    assert shown == []
    discards.fork_shown(7)
    discards.fork_shown(8)
    discards.take(discard(8))
    assert shown == [7, 8]


def test_of_a_fork_that_was_not_shown_nothing_is_seen() -> None:
    shown: list[int] = []
    discards = AfterFork[Exec](lambda each: shown.append(each.pid))
    discards.fork_shown(0)
    discards.take(discard(9))
    assert shown == []


def test_a_pid_used_again_needs_a_fork_of_its_own() -> None:
    shown: list[int] = []
    discards = AfterFork[Exec](lambda each: shown.append(each.pid))
    discards.fork_shown(7)
    discards.take(discard(7))
    discards.take(discard(7))
    assert shown == [7]


def test_what_waits_is_bounded() -> None:
    discards = AfterFork[Exec](lambda _: None)
    for pid in range(1, 20_000):
        discards.take(discard(pid))
        discards.fork_shown(pid + 100_000)
    assert len(discards._early) == len(discards._shown) == AfterFork._WAITING


def test_it_ends_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Traced([[fork(0)], [fork(1)]])
    monkeypatch.setattr(Traced, "stops", False)
    monkeypatch.setattr(tracing, "Session", session)
    wanted = Wanted(events=True, follow=True)
    workload = Workload(["sh", "-c", "exit 3"])
    tracing.trace(wanted, Bounds(), SHOW_JSON, "auto", "auto", workload)
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["type"] == "end"
    assert "sh ended with status 3.\n" in err
    assert "On the whole host:" in err
    assert session.followed > 1
