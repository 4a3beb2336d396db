"""What the kernel's structs become: forks with names, and exact totals."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from forktrace.kernel.abi import abi
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import Rule
from forktrace.model import PARTS, Exec, Fork, Parts, TriggerCost, VmaCounts
from forktrace.stacks.frames import Stack
from forktrace.tracer.layout import (
    ERRNOS,
    EXEC_EVENT,
    FORK_EVENT,
    LOST_STAGES,
    SOURCES,
    STACK_EVENT,
    VFORK_EVENT,
    VMA_EVENT,
    Child,
    Layout,
    StackEvent,
    VmaEvent,
)
from forktrace.tracer.maps import Assembler, Naming, errno_name, totals_of
from forktrace.vforks import Vfork
from tests.unit.recording.samples import STACK

RULE = Rule({10: "dst", 11: "dst", 28: "dst"}, "code")
LAYOUT = Layout(len(RULE.bits))
NAMING = Naming(RULE, FlagNames())
ANON_ONLY, GUARD, BOTH_MAPS = 1, 4, 10


def slot(**values: Any) -> Any:
    record = LAYOUT.ForkSlot(type=FORK_EVENT, tid=7, pid=5, child_pid=9, ret=9)
    for name, value in {**values, "comm": values.get("comm", b"redis")}.items():
        setattr(record, name, value)
    return record


def forks_of(
    *records: Any, in_doubt: Callable[[int], bool] = lambda start_ns: False
) -> list[Fork]:
    forks: list[Fork] = []
    assembler = Assembler(
        LAYOUT,
        NAMING,
        lambda number: f"/{number}",
        forks.append,
        lambda _: None,
        in_doubt,
    )
    for record in records:
        assembler.receive(ctypes.addressof(record), ctypes.sizeof(record))
    return forks


def test_a_trigger_is_the_names_of_its_bits_in_bit_order() -> None:
    assert NAMING.trigger(GUARD) == "maybe_guard"
    assert NAMING.trigger(BOTH_MAPS) == "pfnmap+mixedmap"


def test_without_a_bit_the_trigger_is_the_anon_vma_or_not_known() -> None:
    assert NAMING.trigger(ANON_ONLY) == "anon_vma"
    assert NAMING.trigger(0) == "unknown"


def test_a_fork_adds_up_its_rows() -> None:
    record = slot(
        calls=10, skipped=4, parent_vmas=13, child_vmas=11, cgroup=3, copy_ns=500
    )
    record.rows[ANON_ONLY].vmas, record.rows[ANON_ONLY].copy_ns = 5, 500
    record.rows[GUARD | 1].vmas, record.rows[GUARD | 1].page_table_bytes = 1, 4096
    (fork,) = forks_of(record)
    assert fork.vmas == VmaCounts(copy=6, skip=4, dontcopy=2, wipeonfork=1)
    assert fork.triggers == (
        TriggerCost("anon_vma", True, 5, 500, 0),
        TriggerCost("maybe_guard", True, 1, 0, 4096),
    )
    assert (fork.copy_ns, fork.page_table_bytes) == (500, 4096)
    assert (fork.comm, fork.cgroup, fork.details) == ("redis", "/3", None)


def test_a_fork_has_its_parts_and_the_name_of_its_thread() -> None:
    record = slot(thread=b"worker-0")
    assert [(fork.thread, fork.parts) for fork in forks_of(record)] == [
        ("worker-0", None)
    ]
    record.parts[:] = (1, 20, 300, 4000, 50000)
    (fork,) = forks_of(record)
    assert fork.parts == Parts(1, 20, 300, 4000, 50000)


def test_failures_are_told_by_errno() -> None:
    raw = LAYOUT.KernelTotals(forks_failed=10)
    for number, count in {11: 4, 12: 3, ERRNOS - 1: 2, 0: 1}.items():
        raw.failed[number] = count
    totals = totals_of(raw, NAMING)
    assert totals.failures == {
        "other": 1, "EAGAIN": 4, "ENOMEM": 3, "ERESTARTNOINTR": 2
    }  # fmt: skip
    assert sum(totals.failures.values()) == totals.forks["failed"]


def test_parts_are_there_only_where_the_kernel_shows_them() -> None:
    raw = LAYOUT.KernelTotals()
    raw.part_ns[1], raw.part_buckets[1][3] = 150_000, 1
    parts = totals_of(raw, NAMING).parts
    assert list(parts) == list(PARTS)
    assert (parts["mmap_lock"].sum_ns, parts["mmap_lock"].counts[3]) == (150_000, 1)
    assert totals_of(raw, NAMING, divided=False).parts == {}


def test_a_failed_fork_has_an_errno_and_no_child() -> None:
    (fork,) = forks_of(slot(ret=-12, calls=3, skipped=3, parent_vmas=9))
    assert (fork.outcome, fork.errno, fork.child_pid) == ("failed", "ENOMEM", 0)
    assert fork.vmas == VmaCounts(skip=3)


def test_vmas_go_to_the_fork_of_their_own_thread() -> None:
    mine = VmaEvent(type=VMA_EVENT, tid=7, start=4096, copied=1, row=GUARD, source=2)
    other = VmaEvent(type=VMA_EVENT, tid=8, start=8192)
    first, second = forks_of(mine, other, slot(details=1), slot(details=1))
    assert first.details is not None
    assert [(v.start, v.decision, v.trigger, v.source) for v in first.details] == [
        (4096, "copy", "maybe_guard", "branch")
    ]
    assert second.details == ()


def test_a_fork_that_lost_its_end_leaves_no_vmas_to_the_next_one() -> None:
    lost = VmaEvent(type=VMA_EVENT, tid=7, fork_start_ns=1, start=4096)
    mine = VmaEvent(type=VMA_EVENT, tid=7, fork_start_ns=2, start=8192)
    (fork,) = forks_of(lost, mine, slot(details=1, start_ns=2))
    assert fork.details is not None
    assert [vma.start for vma in fork.details] == [8192]


def test_vmas_of_forks_that_never_end_are_forgotten() -> None:
    lost = [
        VmaEvent(type=VMA_EVENT, tid=tid, fork_start_ns=1, start=4096)
        for tid in range(100, 2100)
    ]
    early, late = forks_of(
        *lost,
        slot(tid=100, details=1, start_ns=1),
        slot(tid=2099, details=1, start_ns=1),
    )
    assert early.details == ()
    assert late.details is not None
    assert [vma.start for vma in late.details] == [4096]


def test_a_stack_goes_to_its_own_fork() -> None:
    """It comes as the fork begins; one of a fork that lost its end goes to none."""
    delivered: list[Fork] = []
    asked: list[tuple[int, int, bytes]] = []

    def who_called(pid: int, registers: Sequence[int], memory: bytes) -> Stack:
        asked.append((pid, len(registers), memory))
        return STACK

    assembler = Assembler(
        LAYOUT, NAMING, str, delivered.append, lambda _: None, who_called=who_called
    )
    words = abi().registers.words
    for began, fork in ((1, slot(tid=7, start_ns=1)), (2, slot(tid=7, start_ns=3))):
        event = StackEvent(type=STACK_EVENT, tid=7, pid=6, fork_start_ns=began, size=4)
        sent = ctypes.create_string_buffer(bytes(event) + bytes(8 * words) + b"abcdef")
        assembler.receive(ctypes.addressof(sent), ctypes.sizeof(sent))
        assembler.receive(ctypes.addressof(fork), ctypes.sizeof(fork))
    assert [fork.stack for fork in delivered] == [STACK, None]
    assert asked == [(6, words, b"abcd")] * 2


def test_the_time_of_a_fork_follows_the_clock_when_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (before,) = forks_of(slot(start_ns=5))
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)
    (after,) = forks_of(slot(start_ns=5))
    assert 3599 < (after.time_ns - before.time_ns) / 1e9 < 3700


def test_a_silent_branch_is_no_disagreement_where_its_probe_was_left_out() -> None:
    raw = LAYOUT.KernelTotals()
    raw.disagree[SOURCES.index("branch")] = 5
    raw.lost[LOST_STAGES.index("witness")] = 2
    totals = totals_of(raw, NAMING, missed={"witness_branch": 6})
    assert totals.decision_checks["branch", "disagree"] == 1
    assert totals.lost["witness"] == 2 + 4
    totals = totals_of(raw, NAMING, missed={"witness_branch": 1})
    assert totals.decision_checks["branch", "disagree"] == 5


def test_a_childs_exec_is_told_with_what_it_threw_away() -> None:
    child = Child(
        type=EXEC_EVENT, pid=9, parent=5, after_ns=70, copy_ns=3, page_table_bytes=4096
    )
    child.comm = b"sh"
    told: list[Exec] = []
    assembler = Assembler(LAYOUT, NAMING, str, lambda _: None, told.append)
    assembler.receive(ctypes.addressof(child), ctypes.sizeof(child))
    assert told == [Exec(9, 5, "sh", 70, 3, 4096)]


@pytest.mark.parametrize(("execs", "ended"), [(1, "exec"), (0, "exit")])
def test_a_vfork_is_told_with_how_long_it_held_its_caller(
    execs: int, ended: str
) -> None:
    child = Child(
        type=VFORK_EVENT, pid=9, parent=5, tid=6, after_ns=70, cgroup=3, execs=execs
    )
    child.comm, child.thread = b"sh", b"worker"
    told: list[Vfork] = []
    assembler = Assembler(
        *(LAYOUT, NAMING, lambda number: f"/{number}", lambda _: None, lambda _: None),
        deliver_vfork=told.append,
    )
    assembler.receive(ctypes.addressof(child), ctypes.sizeof(child))
    (vfork,) = told
    assert (vfork.pid, vfork.tid, vfork.child_pid) == (5, 6, 9)
    assert (vfork.comm, vfork.thread, vfork.cgroup) == ("sh", "worker", "/3")
    assert (vfork.held_ns, vfork.ended) == (70, ended)


def test_totals_show_every_single_bit_from_the_start() -> None:
    totals = totals_of(LAYOUT.KernelTotals(), NAMING)
    assert {(cost.trigger, cost.anon_vma) for cost in totals.triggers} == {
        ("anon_vma", True),
        *(
            (name, anon)
            for name in ("pfnmap", "maybe_guard", "mixedmap")
            for anon in (False, True)
        ),
    }


def test_totals_are_those_of_the_kernel() -> None:
    raw = LAYOUT.KernelTotals(forks_ok=3, forks_failed=1, skip=2)
    raw.lost[LOST_STAGES.index("vma_event")] = 7
    raw.agree[2], raw.disagree[1] = 8, 9
    raw.rows[GUARD].vmas = 6
    totals = totals_of(raw, NAMING)
    assert totals.forks == {"ok": 3, "failed": 1}
    assert totals.vmas == VmaCounts(copy=6, skip=2)
    assert totals.lost["vma_event"] == 7
    assert totals.decision_checks["branch", "agree"] == 8
    assert totals.decision_checks["return", "disagree"] == 9


def test_what_ran_for_nobody_counts_as_lost_unless_another_made_up_for_it() -> None:
    raw = LAYOUT.KernelTotals()
    raw.lost[LOST_STAGES.index("fork_child")] = 2
    raw.lost[LOST_STAGES.index("copy_entry")] = 9
    missed = {"child_made": 5, "kfunc__copy_page_range": 7, "child_execs": 1}
    lost = totals_of(raw, NAMING, missed=missed).lost
    assert (lost["fork"], lost["copy"], lost["exec"]) == (3, 0, 1)


def test_vmas_that_both_probes_missed_are_not_called_wipeonfork() -> None:
    raw = LAYOUT.KernelTotals(wipeonfork=45)
    raw.lost[LOST_STAGES.index("copy_entry")] = 100
    totals = totals_of(raw, NAMING, missed={"kfunc__copy_page_range": 142})
    assert (totals.vmas.wipeonfork, totals.lost["copy"]) == (3, 42)


def test_vmas_of_a_fork_that_may_have_been_missed_are_unknown() -> None:
    record = slot(calls=10, skipped=4, unknown=1, parent_vmas=13, child_vmas=12)
    (sure,) = forks_of(record)
    assert sure.vmas == VmaCounts(5, 4, dontcopy=1, wipeonfork=2, unknown=1)
    (doubted,) = forks_of(record, in_doubt=lambda start_ns: True)
    assert doubted.vmas == VmaCounts(5, 4, dontcopy=1, wipeonfork=0, unknown=3)
    assert sure.vmas.every == doubted.vmas.every == 13


def test_errno_has_the_kernels_own_names_too() -> None:
    assert errno_name(11) == "EAGAIN"
    assert errno_name(513) == "ERESTARTNOINTR"
    assert errno_name(9999) == "errno_9999"
