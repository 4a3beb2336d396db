"""One line a fork, and the table at the end: what ``trace`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone

from forktrace.model import (
    Exec,
    Fork,
    Parts,
    Sums,
    Totals,
    TriggerCost,
    Vforks,
    Vma,
    VmaCounts,
)
from forktrace.stacks.frames import Frame, Stack
from forktrace.text import printable
from forktrace.vforks import Vfork
from forktrace.views import parts
from forktrace.views.units import counted, duration, size

HEADER = (
    f"{'TIME':<12} {'COMM':<15} {'PID':>7} {'CHILD':>7} {'FORK':>8} {'LOCK':>8} "
    f"{'DUP':>8} {'COPY':>8} {'REST':>8} {'TABLES':>8} {'VMAS':>11}  COPIED BY"
)
"""FORK is the sum of the four that follow: the wait for the parent's mmap_lock,
duplicating VMAs, copying their page tables, and all that is before and after."""


def fork_line(fork: Fork) -> str:
    """Return a fork in one line, under ``HEADER``; VMAS is copied/all."""
    counts = fork.vmas
    child = str(fork.child_pid) if fork.outcome == "ok" else fork.errno or "?"
    copied = f"{counts.copy}/{counts.every}"
    lock, dup, rest = _other_times(fork.parts)
    return (
        f"{_clock(fork.time_ns):<12} {printable(fork.comm):<15} {fork.pid:>7} "
        f"{child:>7} "
        f"{duration(fork.duration_ns):>8} {lock:>8} {dup:>8} "
        f"{duration(fork.copy_ns):>8} {rest:>8} "
        f"{size(fork.page_table_bytes):>8} {copied:>11}  {_causes(fork.triggers)}"
        f"{with_pages(fork)}{in_thread(fork)}{without_cpu(fork)}"
    ).rstrip()


def vfork_line(vfork: Vfork) -> str:
    """Return a vfork in one line, under ``HEADER``."""
    return (
        f"{_clock(vfork.time_ns):<12} {printable(vfork.comm):<15} {vfork.pid:>7} "
        f"{vfork.child_pid:>7} vfork held its caller for {duration(vfork.held_ns)}, "
        f"until {vfork.ended}{in_thread(vfork)}"
    )


def _clock(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 10**9, timezone.utc).astimezone()
    return f"{moment:%H:%M:%S}.{time_ns // 10**6 % 1000:03d}"


def _other_times(parts: Parts | None) -> tuple[str, str, str]:
    """Return what a fork took besides copying; dashes where it is not known."""
    if parts is None:
        return "-", "-", "-"
    rest = parts.setup + parts.finish
    return duration(parts.mmap_lock), duration(parts.vmas), duration(rest)


def without_cpu(what: Fork | Vma) -> str:
    """Say how long the task had no CPU, where that is a part worth knowing."""
    whole = what.duration_ns if isinstance(what, Fork) else what.copy_ns
    if what.run_delay_ns * 20 < whole or not what.run_delay_ns:
        return ""
    return f" (no CPU for {duration(what.run_delay_ns)} of it)"


def with_pages(what: Fork | Vma) -> str:
    """Say how much pinned memory was copied, not only its page tables."""
    if not what.pinned_bytes:
        return ""
    return f" (and {size(what.pinned_bytes)} of pinned pages)"


def in_thread(fork: Fork | Vfork) -> str:
    """Name the thread that called, where it is not called as its process is."""
    named = fork.thread and fork.thread != fork.comm
    return f" (thread {printable(fork.thread)})" if named else ""


def vma_line(vma: Vma, name: str | None = None) -> str:
    """Return one VMA of a fork, to stand below the fork's line.

    ``name`` is that of its mapping: None for anonymous memory, and where not known.
    """
    why = vma.trigger or ""
    cost = ""
    if vma.decision == "copy":
        cost = f"{duration(vma.copy_ns):>8} {size(vma.page_table_bytes):>8}"
    anon = " anon_vma" if vma.anon_vma and vma.trigger != "anon_vma" else ""
    return (
        f"    {vma.start:x}-{vma.end:x} {vma.decision:<10} {cost:>17} {why}{anon}"
        f"{with_pages(vma)}{without_cpu(vma)}  {vma.src_flags:#x} {','.join(vma.flags)}"
        f"  {printable(name or '')}"
    ).rstrip()


def stack_lines(stack: Stack) -> list[str]:
    """Return who called fork, a line a frame, to stand below the fork's line."""
    said = [f"        {frame_words(frame)}" for frame in stack.frames]
    return said + (["        and more that were not read"] if stack.cut else [])


def frame_words(frame: Frame) -> str:
    """Name a function, or where it is, and the file that it is in."""
    function = printable(frame.function or f"{frame.address:#x}")
    module = printable(frame.module.rpartition("/")[2])
    return f"{function} ({module})" if module else function


def missing_stacks(missing: int, cut: int) -> list[str]:
    """Say of how many forks the callers are not known, or not all."""
    said = []
    if missing:
        said.append(f"No stack is known of {counted(missing, 'fork')}.")
    if cut:
        whose = "its stack is" if cut == 1 else "their stacks are"
        said.append(
            f"Only the innermost functions are known of {counted(cut, 'fork')}: "
            f"{whose} deeper than what is read."
        )
    return said


def not_ended(children: int) -> list[str]:
    """Say of how many children it is not known what copy-on-write cost."""
    if not children:
        return []
    whose = counted(children, "child", "children")
    return [f"What copy-on-write cost is not known for {whose}: still alive, or lost."]


def exec_line(discard: Exec) -> str:
    """Return what a child threw away by exec, to stand below the forks."""
    return (
        f"    child {discard.pid} of {printable(discard.comm)}[{discard.parent}] "
        f"discarded by exec after {duration(discard.after_ns)}: copied for nothing in "
        f"{duration(discard.copy_ns)}, {size(discard.page_table_bytes)}"
    )


def _causes(triggers: Iterable[TriggerCost]) -> str:
    """Name the triggers, the dearest first, with how many VMAs each copied."""
    ranked = sorted(triggers, key=lambda cost: (-cost.copy_ns, -cost.vmas))
    return ", ".join(f"{cost.vmas} {_name(cost)}" for cost in ranked)


def _name(cost: TriggerCost) -> str:
    """Say when the VMA would have been copied without the bit as well."""
    both = cost.anon_vma and cost.trigger != "anon_vma"
    return f"{cost.trigger} (and anon_vma)" if both else cost.trigger


def counts_words(counts: VmaCounts) -> str:
    """Say how many VMAs met each decision."""
    unknown = f", {counts.unknown:,} unknown" if counts.unknown else ""
    return (
        f"{counts.copy:,} copied, {counts.skip:,} skipped, {counts.dontcopy:,} "
        f"dontcopy, {counts.wipeonfork:,} wipeonfork{unknown}"
    )


def summary_of_some(what: str, some: Sums, totals: Totals) -> list[str]:
    """Return what the forks that were ``what`` did, and what all of the host did."""
    if not some.forks:
        every = counted(sum(totals.forks.values()), "fork")
        none = f"No fork was {what}: none of the {every} on the host matched."
        return [none, *summary(totals)]
    return [
        f"{counted(some.forks, 'fork')} {what} ({some.failed} failed) took "
        f"{duration(some.duration_ns)}, of which {duration(some.copy_ns)} in "
        f"copy_page_range, for {size(some.page_table_bytes)} of page tables"
        f"{_and_pages(some.pinned_bytes)}.",
        "On the whole host:",
        *summary(totals),
    ]


def summary(totals: Totals) -> list[str]:
    """Return what all forks did, trigger by trigger, and what was lost."""
    forks = totals.forks["ok"] + totals.forks["failed"]
    lines = [
        f"{counted(forks, 'fork')} ({failed(totals)}) took "
        f"{duration(totals.fork_duration.sum_ns)}, of which "
        f"{duration(totals.copy_duration.sum_ns)} in copy_page_range. VMAs: "
        f"{counts_words(totals.vmas)}.",
        *trigger_table(totals.triggers),
    ]
    if totals.run_delay_ns * 20 > totals.fork_duration.sum_ns:
        waited = duration(totals.run_delay_ns)
        lines.append(
            f"For {waited} of it the callers were ready to run and had no CPU."
        )
    if totals.pinned_bytes:
        lines.append(pinned_words(totals.pinned_bytes))
    times = parts.shares(totals.part_ns)
    if times:
        lines.append(f"Time: {times}.")
    if totals.vforks.calls:
        lines.append(vfork_words(totals.vforks))
    waste = totals.exec_discards
    if waste.discards:
        lines.append(
            f"{waste.discards} children threw their copies away by exec: "
            f"{duration(waste.copy_ns)}, {size(waste.page_table_bytes)} for nothing."
        )
    if totals.programs and totals.fork_duration.sum_ns:
        own = sum(program.run_ns for program in totals.programs)
        share = 100 * own / totals.fork_duration.sum_ns
        lines.append(f"Tracing took {share:.1f}% of fork time.")
    lost = {stage: count for stage, count in totals.lost.items() if count}
    if lost:
        named = ", ".join(f"{count} at {stage}" for stage, count in lost.items())
        lines.append(f"Lost: {named}.")
    return lines


def failed(totals: Totals) -> str:
    """Say how many forks failed, and by which errno."""
    causes = ranked(totals.failures)
    return f"{totals.forks['failed']} failed" + (f": {causes}" if causes else "")


def ranked(counts: Mapping[str, int]) -> str:
    """Return counts by name, the highest first."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return ", ".join(f"{counts[name]:,} {printable(name)}" for name in order)


def vfork_words(vforks: Vforks) -> str:
    """Say how often nothing had to be copied, and how long callers waited instead."""
    return (
        f"{vforks.calls:,} calls of vfork or posix_spawn copied nothing; their callers "
        f"waited {duration(vforks.held_ns)} for the child's exec or exit."
    )


def _and_pages(pinned_bytes: int) -> str:
    return f" and {size(pinned_bytes)} of pinned pages" if pinned_bytes else ""


def pinned_words(pinned_bytes: int) -> str:
    """Say how many pages were copied themselves, and what would help."""
    return (
        f"{size(pinned_bytes)} of pages were copied themselves, because they are "
        "pinned (io_uring's registered buffers, RDMA): madvise(MADV_DONTFORK) on such "
        "buffers saves that."
    )


def trigger_table(triggers: Sequence[TriggerCost]) -> list[str]:
    """Return a table of what each trigger cost, the dearest first."""
    used = sorted(
        (cost for cost in triggers if cost.vmas),
        key=lambda cost: (-cost.copy_ns, cost.trigger),
    )
    if not used:
        return []
    rows = [("TRIGGER", "ANON_VMA", "VMAS", "COPY TIME", "PAGE TABLES")] + [
        (
            cost.trigger,
            "yes" if cost.anon_vma else "no",
            str(cost.vmas),
            duration(cost.copy_ns),
            size(cost.page_table_bytes),
        )
        for cost in used
    ]
    wide = max(len(row[0]) for row in rows)
    return [
        f"  {trigger:<{wide}}  {anon:<8}  {vmas:>8}  {time:>10}  {tables:>11}"
        for trigger, anon, vmas, time, tables in rows
    ]
