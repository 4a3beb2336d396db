"""One line a fork, and the table at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forktrace.model import (
    Fork,
    Histogram,
    Parts,
    Sums,
    Totals,
    TriggerCost,
    Vforks,
    Vma,
    VmaCounts,
)
from forktrace.views.lines import HEADER, fork_line, summary, summary_of_some, vma_line

FORK = Fork(
    time_ns=1_700_000_000_123_456_789,
    pid=42,
    tid=42,
    comm="redis-server",
    child_pid=43,
    cgroup="/",
    outcome="ok",
    errno=None,
    duration_ns=12_300_000,
    copy_ns=9_870_000,
    page_table_bytes=558 << 10,
    vmas=VmaCounts(copy=20, skip=30, dontcopy=1),
    triggers=(
        TriggerCost("maybe_guard", False, 1, 50, 0),
        TriggerCost("anon_vma", True, 18, 900, 0),
        TriggerCost("uffd_wp", True, 1, 10, 0),
    ),
)


def test_a_fork_is_one_line_under_the_header_the_dearest_trigger_first() -> None:
    line = fork_line(FORK)
    assert line.index("redis-server") == HEADER.index("COMM")
    assert line.index("18 anon_vma") == HEADER.index("COPIED BY")
    assert "20/51" in line
    assert "12.3 ms        -        -  9.87 ms        -  558 KiB" in line
    assert line.endswith("18 anon_vma, 1 maybe_guard, 1 uffd_wp (and anon_vma)")


def test_the_times_in_a_line_add_up() -> None:
    ms = 1_000_000
    parts = Parts(setup=ms, mmap_lock=4 * ms, vmas=3 * ms, copy=2 * ms, finish=ms)
    whole = replace(FORK, duration_ns=11 * ms, copy_ns=2 * ms, parts=parts)
    assert "11 ms     4 ms     3 ms     2 ms     2 ms" in fork_line(whole)


def test_time_without_a_cpu_is_told_where_it_matters() -> None:
    preempted = replace(FORK, run_delay_ns=6_000_000)
    assert fork_line(preempted).endswith(" (no CPU for 6 ms of it)")
    assert "no CPU" not in fork_line(replace(FORK, run_delay_ns=60_000))


def test_a_thread_is_named_where_its_process_is_called_otherwise() -> None:
    assert fork_line(replace(FORK, thread="bio_lazy")).endswith(" (thread bio_lazy)")
    assert "thread" not in fork_line(replace(FORK, thread=FORK.comm))


def test_pinned_pages_are_told_beside_what_was_copied() -> None:
    pinned = replace(FORK, pinned_bytes=40 << 20)
    assert fork_line(pinned).endswith(" (and 40 MiB of pinned pages)")
    for none in (0, None):
        assert "pinned" not in fork_line(replace(FORK, pinned_bytes=none))
    some = Sums()
    some.add(pinned)
    some.add(FORK)
    (said, *_) = summary_of_some("shown", some, totals_of())
    assert said.endswith("of page tables and 40 MiB of pinned pages.")
    assert "pinned" not in "".join(summary(totals_of()))
    assert "MADV_DONTFORK" in "".join(summary(totals_of(pinned_bytes=1 << 20)))


def totals_of(**more: Any) -> Totals:
    empty = Histogram((1,), (0, 0), 0)
    return Totals({"ok": 2, "failed": 0}, VmaCounts(), (), empty, empty, {}, **more)


def test_a_name_cannot_drive_the_terminal() -> None:
    evil = Fork(**{**vars(FORK), "comm": "\x1b[2Jgone"})
    assert "\x1b" not in fork_line(evil)


def test_a_failed_fork_shows_its_errno_instead_of_a_child() -> None:
    failed = Fork(
        **{**vars(FORK), "outcome": "failed", "errno": "ENOMEM", "child_pid": 0}
    )
    assert " ENOMEM " in fork_line(failed)


def test_a_vma_says_why_it_was_copied_and_what_else_would_have() -> None:
    vma = Vma(
        4096, 8192, 0x800, 0x800, ("maybe_guard",), True, "copy", "branch",
        "maybe_guard", 1500, 4096,
    )  # fmt: skip
    line = vma_line(vma)
    assert "1000-2000 copy" in line
    assert "1.50 µs" in line
    assert "maybe_guard anon_vma" in line
    assert line.endswith("0x800 maybe_guard")
    assert vma_line(vma, "/lib/\x1b[2Jx.so").endswith("  /lib/\\x1b[2Jx.so")


def test_the_summary_names_triggers_and_every_loss() -> None:
    empty = Histogram((1,), (0, 0), 0)
    totals = Totals(
        forks={"ok": 2, "failed": 1},
        vmas=VmaCounts(copy=20, skip=5),
        triggers=FORK.triggers,
        fork_duration=empty,
        copy_duration=empty,
        lost={"fork_event": 3, "vma_event": 0},
        failures={"EAGAIN": 1},
        parts={"mmap_lock": replace(empty, sum_ns=3), "copy": replace(empty, sum_ns=1)},
        vforks=Vforks(4, 2_000_000_000),
    )
    text = "\n".join(summary(totals))
    assert text.startswith("3 forks (1 failed: 1 EAGAIN)")
    assert "Time: 75% waiting for the parent's mmap_lock, 25% copying" in text
    assert (
        "4 calls of vfork or posix_spawn copied nothing; their callers waited 2 s"
        in (text)
    )
    assert text.index("anon_vma") < text.index("maybe_guard")
    assert text.endswith("Lost: 3 at fork_event.")


def test_forks_that_match_nothing_are_said_to() -> None:
    empty = Histogram((1,), (0, 0), 0)
    totals = Totals(
        forks={"ok": 2, "failed": 1},
        vmas=VmaCounts(),
        triggers=(),
        fork_duration=empty,
        copy_duration=empty,
        lost={},
    )
    said = summary_of_some("shown", Sums(), totals)
    assert said[0] == "No fork was shown: none of the 3 forks on the host matched."
