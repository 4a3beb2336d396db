"""What is told of a recording is the sum of its records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forktrace.model import Exec, ExecDiscards, Fork, TriggerCost, VmaCounts
from forktrace.report import aggregate
from forktrace.report.command import read
from forktrace.report.names import ANONYMOUS, NOT_KNOWN, OTHER
from forktrace.report.study import CUT_OFF, Share, Study
from tests.unit.recording import strategies
from tests.unit.recording.samples import (
    DETAILED,
    EXEC,
    HOST,
    MS,
    SUMMARY,
    fork,
    write,
)


def study(
    folder: Path,
    forks: Iterable[Fork],
    execs: Iterable[Exec] = (),
    *,
    ended: bool = True,
) -> Study:
    (folder / "r").unlink(missing_ok=True)
    return read(write(folder / "r", forks, execs=execs, ended=ended))


@settings(max_examples=50)
@given(st.lists(strategies.forks, max_size=15))
def test_sums_are_those_of_the_forks(tmp_path: Path, forks: list[Fork]) -> None:
    found = study(tmp_path, forks)
    assert found.forks == len(forks)
    assert found.durations.sum == sum(each.duration_ns for each in forks)
    assert found.copies.sum == sum(each.copy_ns for each in forks)
    assert found.page_table_bytes == sum(each.page_table_bytes for each in forks)
    assert found.failed == sum(each.outcome == "failed" for each in forks)
    for groups in (found.processes, found.cgroups):
        assert sum(group.forks for group in groups) == len(forks)
        assert sum(group.copy_ns for group in groups) == found.copies.sum
    costs = [cost for each in forks for cost in each.triggers]
    assert sum(c.copy_ns for c in found.triggers) == sum(c.copy_ns for c in costs)
    assert sum(cell.forks for cell in found.timeline.cells()) == len(forks)
    ranked = sorted(forks, key=lambda each: -each.duration_ns)[:10]
    assert [dear.fork for dear in found.costliest] == ranked
    assert found.all_drawn


def test_groups_come_with_the_costliest_first(tmp_path: Path) -> None:
    forks = [
        fork(0, 5 * MS, comm="sh", cgroup="/a"),
        fork(1, 5 * MS, comm="sh", cgroup="/b", trigger="pfnmap", copy_ns=MS),
        fork(2, 9 * MS, comm="java", cgroup="/b", copy_ns=8 * MS),
    ]
    found = study(tmp_path, forks, [Exec(1000, 42, "sh", MS, 4 * MS, 8192)])
    assert [group.name for group in found.processes] == ["java", "sh"]
    shell = found.processes[1]
    assert (shell.forks, shell.durations.highest) == (2, 5 * MS)
    assert list(shell.triggers.items()) == [("anon_vma", 4_500_000), ("pfnmap", MS)]
    assert shell.exec_discards == ExecDiscards(1, 4 * MS, 8192)
    assert [group.name for group in found.cgroups] == ["/b", "/a"]
    assert found.triggers == (
        TriggerCost("anon_vma", True, 4, 12_500_000, 16384),
        TriggerCost("pfnmap", False, 2, MS, 8192),
    )
    assert found.vmas == VmaCounts(copy=6, skip=9, dontcopy=3)
    assert found.exec_discards == ExecDiscards(1, 4 * MS, 8192)


def test_mappings_are_named_for_their_own_process_only(tmp_path: Path) -> None:
    other = replace(DETAILED, pid=43, duration_ns=1)
    found = study(tmp_path, [DETAILED, fork(1), other])
    assert found.costliest[0].names == {0x1000: "[heap]", 0x3000: ""}
    assert [dear.names for dear in found.costliest[1:]] == [{}, {}]
    assert found.detailed == 2
    assert found.shares == (
        Share("redis-server", "anon_vma", NOT_KNOWN, 9 * MS, 8192),
        Share("redis-server", "anon_vma", "[heap]", 6 * MS, 4096),
        Share("redis-server", "anon_vma", ANONYMOUS, 3 * MS, 4096),
    )


def test_the_summary_says_how_it_ended_and_what_was_lost(tmp_path: Path) -> None:
    found = study(tmp_path, [DETAILED], [EXEC])
    assert found.ended == "stopped"
    assert found.span_ns == 60_000 * MS
    assert found.lost == SUMMARY.lost
    assert found.host == HOST


def test_a_recording_that_was_cut_off_lasts_as_long_as_is_known(tmp_path: Path) -> None:
    found = study(tmp_path, [fork(3)], ended=False)
    assert found.ended == CUT_OFF
    assert found.span_ns == 1000 * MS
    assert found.lost == {"fork_event": 1}
    assert found.host is None


def test_ever_new_names_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "_MOST_NAMES", 3)
    forks = [fork(n, comm=f"job-{n}") for n in range(10)]
    found = study(tmp_path, forks)
    (others,) = (group for group in found.processes if group.name == OTHER)
    assert (others.names, others.forks) == (7, 7)
    assert len(found.processes) == 4


def test_ever_new_triggers_of_a_name_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "_MOST_TRIGGERS", 3)
    forks = [fork(n, MS, copy_ns=MS, trigger=f"bit_{n}") for n in range(10)]
    (group,) = study(tmp_path, forks).processes
    assert group.triggers == {
        OTHER: 7 * MS, "bit_0": MS, "bit_1": MS, "bit_2": MS
    }  # fmt: skip


def test_of_many_forks_only_the_longest_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "_ALL_POINTS", 20)
    monkeypatch.setattr(aggregate, "_LONGEST_POINTS", 5)
    forks = [fork(n, (n * 7 % 31 + 1) * MS) for n in range(30)]
    few = study(tmp_path, forks[:20])
    assert len(few.points) == 20
    assert few.all_drawn
    many = study(tmp_path, forks)
    assert not many.all_drawn
    longest = sorted(each.duration_ns for each in forks)[-5:]
    assert sorted(point.duration_ns for point in many.points) == longest


def test_the_json_holds_what_is_published(tmp_path: Path) -> None:
    said = study(tmp_path, [DETAILED, fork(1, 20 * MS)], [EXEC]).to_json()
    assert said["schema"] == 1
    assert said["recording"]["kernel"] == "7.3.4"
    assert (said["forks"], said["duration_ns"]) == (2, 30 * MS)
    assert said["latency_ns"]["fork"]["max"] == 20 * MS
    assert sum(each["forks"] for each in said["histogram"]) == 2
    assert said["processes"][0]["comm"] == "redis-server"
    assert said["cgroups"][0]["cgroup"] == "/redis"
    assert said["costliest"][1]["names"] == {"0x1000": "[heap]"}
    assert said["costliest"][1]["details"][0]["copy_ns"] == 6 * MS
    assert said["host_totals"]["forks"] == 3
