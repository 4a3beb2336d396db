"""What each name's forks cost between two looks: exact sums, durations of what came."""

from __future__ import annotations

from dataclasses import replace

from forktrace.activity import MOST_NAMES, MOST_PIDS, Activity
from forktrace.model import (
    OTHER,
    ExecDiscards,
    Fork,
    Histogram,
    ProcessCost,
    Totals,
    TriggerCost,
    Vforks,
    VmaCounts,
)


def histogram(sum_ns: int) -> Histogram:
    return Histogram((1000,), (0, 0), sum_ns)


def totals(ok: int = 0, sum_ns: int = 0, *processes: ProcessCost) -> Totals:
    return Totals(
        forks={"ok": ok, "failed": 0},
        vmas=VmaCounts(),
        triggers=(),
        fork_duration=histogram(sum_ns),
        copy_duration=histogram(sum_ns // 2),
        lost={},
        processes=processes,
    )


def fork(comm: str, duration_ns: int, trigger: str = "anon_vma") -> Fork:
    cost = TriggerCost(trigger, True, 1, duration_ns // 2, 4096)
    return Fork(
        *(0, 1, 1, comm, 2, "/", "ok", None),
        duration_ns=duration_ns,
        copy_ns=duration_ns // 2,
        page_table_bytes=4096,
        vmas=VmaCounts(copy=1),
        triggers=(cost,),
    )


def test_sums_are_differences_of_the_kernels_totals() -> None:
    activity = Activity(totals(5, 100, ProcessCost("sh", 5, 40, 8192)), now=10.0)
    sh = ProcessCost("sh", 9, 100, 16384, ExecDiscards(3, 30, 4096))
    window = activity.take(totals(9, 300, sh), now=12.0)
    assert (window.seconds, window.forks) == (2.0, 4)
    assert (window.fork_ns, window.copy_ns) == (200, 100)
    (usage,) = window.usages
    assert (usage.forks, usage.copy_ns, usage.page_table_bytes) == (4, 60, 8192)
    assert (usage.discards, usage.discarded_bytes) == (3, 4096)


def test_failures_parts_and_vforks_are_differences_too() -> None:
    before = replace(
        totals(5, 100, ProcessCost("sh", 5, 40, 0, failed=1, vforks=Vforks(2, 10))),
        failures={"EAGAIN": 1, "ENOMEM": 4},
        parts={"vmas": histogram(70)},
    )
    after = replace(
        totals(
            6,
            *(200, ProcessCost("sh", 6, 40, 0, failed=2, vforks=Vforks(2, 30))),
            ProcessCost("spawner", 0, 0, 0, vforks=Vforks(1, 5)),
        ),
        failures={"EAGAIN": 3, "ENOMEM": 4},
        parts={"vmas": histogram(90)},
    )
    window = Activity(before, now=0.0).take(after, now=1.0)
    assert (window.failures, window.parts) == ({"EAGAIN": 2}, {"vmas": 20})
    sh, spawner = window.usages
    assert (sh.failed, sh.vforks) == (1, Vforks(0, 20))
    assert (spawner.forks, spawner.vforks) == (0, Vforks(1, 5))


def test_durations_and_triggers_are_those_of_the_forks_that_came() -> None:
    activity = Activity(totals(), now=0.0)
    activity.add(fork("sh", 100))
    activity.add(fork("sh", 300, "maybe_guard"))
    window = activity.take(totals(2, 400, ProcessCost("sh", 2, 200, 8192)), now=1.0)
    (usage,) = window.usages
    assert (usage.mean_ns, usage.max_ns) == (200, 300)
    assert list(usage.triggers.items()) == [("maybe_guard", 150), ("anon_vma", 50)]


def test_processes_of_a_name_come_the_dearest_first() -> None:
    activity = Activity(totals(), now=0.0)
    for pid, duration_ns in ((7, 100), (8, 300), (7, 100), (9, 200)):
        activity.add(replace(fork("sh", duration_ns), pid=pid))
    sh = ProcessCost("sh", 4, 350, 8192)
    (usage,) = activity.take(totals(4, 700, sh), now=1.0).usages
    assert (usage.pids, usage.more_pids) == ((8, 7, 9), False)


def test_so_many_processes_are_told_apart_and_no_more() -> None:
    activity = Activity(totals(), now=0.0)
    for pid in (*range(1, 100_001), 1):
        activity.add(replace(fork("sh", 100), pid=pid))
    sh = ProcessCost("sh", 100_001, 350, 8192)
    (usage,) = activity.take(totals(100_001, 700, sh), now=1.0).usages
    assert usage.pids == tuple(range(1, MOST_PIDS + 1))
    assert usage.more_pids
    assert usage.to_json()["pids"] == [*range(1, MOST_PIDS + 1)]


def test_names_beyond_those_that_the_kernel_tells_apart_are_one() -> None:
    activity = Activity(totals(), now=0.0)
    for number in range(MOST_NAMES + 5):
        activity.add(fork(f"name-{number}", 100))
    costs = [ProcessCost(name, 1, 5, 6) for name in ("name-0", "name-2050", OTHER)]
    usages = activity.take(totals(MOST_NAMES + 5, 700, *costs), now=1.0).usages
    assert [usage.max_ns for usage in usages] == [100, 0, 100]


def test_a_window_begins_with_nothing_of_the_one_before() -> None:
    activity = Activity(totals(), now=0.0)
    activity.add(fork("sh", 100))
    once = totals(1, 100, ProcessCost("sh", 1, 50, 4096))
    activity.take(once, now=1.0)
    assert activity.take(once, now=2.0).usages == ()
    twice = replace(once, processes=(ProcessCost("sh", 2, 100, 8192),))
    (usage,) = activity.take(twice, now=3.0).usages
    assert (usage.forks, usage.max_ns) == (1, 0)
