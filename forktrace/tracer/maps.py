"""From the BPF maps' structs to the model: names for rows, forks from events."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Optional, TypeVar

from forktrace.bits import ANON_VMA
from forktrace.kernel.abi import abi
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import Rule
from forktrace.model import (
    PARTS,
    Decision,
    Exec,
    ExecDiscards,
    Fork,
    Histogram,
    Outcome,
    Parts,
    ProgramCost,
    Source,
    Totals,
    TriggerCost,
    Vforks,
    Vma,
    VmaCounts,
)
from forktrace.stacks.frames import Stack
from forktrace.text import decode_comm
from forktrace.tracer.costs import Costs
from forktrace.tracer.layout import (
    BUCKET_BOUNDS_NS,
    EXEC_EVENT,
    FORK_EVENT,
    LOST_STAGES,
    MISSED,
    SOURCES,
    STACK_EVENT,
    VFORK_EVENT,
    VMA_EVENT,
    Child,
    Layout,
    StackEvent,
    VmaEvent,
)
from forktrace.tracer.macros import trigger_bits
from forktrace.vforks import Vfork

WhoCalled = Callable[[int, Sequence[int], bytes], Optional[Stack]]
"""Makes a stack of a process's number, its registers and its memory."""

_T = TypeVar("_T")

_WITNESSES: tuple[Source, ...] = ("return", "branch")

UNKNOWN = "unknown"
"""Trigger of a copy that a witness saw and the rule did not foresee."""


class Naming:
    """How this kernel's rows and flags are called; made once for a session."""

    def __init__(self, rule: Rule, names: FlagNames) -> None:
        """Name the rows of ``rule``."""
        self._rule = rule
        self._names = names

    def trigger(self, row: int) -> str:
        """Return the trigger of a row; whether it had an anon_vma is its low bit."""
        bits = trigger_bits(self._rule, row)
        if bits:
            return self._rule.trigger_name(bits, self._names)
        return ANON_VMA if row & 1 else UNKNOWN

    def rows(self, count: int) -> list[tuple[str, bool]]:
        """Return the trigger of each row, and whether it had an anon_vma."""
        return [(self.trigger(row), bool(row & 1)) for row in range(count)]

    def costs(self, rows: Any, *, zeros: bool = False) -> tuple[TriggerCost, ...]:
        """Return the rows in use; ``zeros`` adds each single bit's and anon_vma's."""
        always = self._single_rows() if zeros else frozenset()
        return tuple(
            TriggerCost(
                trigger=self.trigger(number),
                anon_vma=bool(number & 1),
                vmas=row.vmas,
                copy_ns=row.copy_ns,
                page_table_bytes=row.page_table_bytes,
            )
            for number, row in enumerate(rows)
            if row.vmas or number in always
        )

    def _single_rows(self) -> frozenset[int]:
        singles = {2 << place for place in range(len(self._rule.bits))}
        return frozenset({1} | singles | {row | 1 for row in singles})

    def vma(self, event: VmaEvent, *, counts_pages: bool = True) -> Vma:
        """Return the model of one VMA event."""
        decision: Decision = "copy" if event.copied else "skip"
        source: Source = SOURCES[event.source]  # type: ignore[assignment]
        return Vma(
            start=event.start,
            end=event.end,
            src_flags=event.src_flags,
            dst_flags=event.dst_flags,
            flags=self._names.names(event.src_flags),
            anon_vma=bool(event.anon_vma),
            decision=decision,
            source=source,
            trigger=self.trigger(event.row) if event.copied else None,
            copy_ns=event.copy_ns,
            page_table_bytes=event.page_table_bytes,
            run_delay_ns=event.run_delay,
            pinned_bytes=event.pinned_bytes if counts_pages else None,
        )


def totals_of(
    raw: Any,
    naming: Naming,
    *,
    costs: Costs | None = None,
    missed: Mapping[str, int] = MappingProxyType({}),
    programs: tuple[ProgramCost, ...] = (),
    in_progress: int = 0,
    divided: bool = True,
    counts_pages: bool = True,
) -> Totals:
    """Return the model of ``struct totals`` and of the table of costs.

    ``missed`` is how many runs of each program the kernel left out; ``divided`` tells
    whether it shows the parts of forks, ``counts_pages`` whether it does the pages that
    they copied.
    """
    forks: dict[Outcome, int] = {"ok": raw.forks_ok, "failed": raw.forks_failed}
    checks: dict[tuple[Source, str], int] = {}
    for source in _WITNESSES:
        number = SOURCES.index(source)
        checks[source, "agree"] = raw.agree[number]
        checks[source, "disagree"] = raw.disagree[number]
    checks["branch", "disagree"] -= unseen_copies(raw, missed)
    triggers = naming.costs(raw.rows, zeros=True)
    return Totals(
        forks=forks,
        vmas=VmaCounts(
            copy=sum(cost.vmas for cost in triggers),
            skip=raw.skip,
            dontcopy=raw.dontcopy,
            # What both probes missed looks the same.
            wipeonfork=max(0, raw.wipeonfork - _missed(raw, "copy", missed)),
        ),
        triggers=triggers,
        fork_duration=Histogram(BUCKET_BOUNDS_NS, tuple(raw.fork_buckets), raw.fork_ns),
        copy_duration=Histogram(BUCKET_BOUNDS_NS, tuple(raw.copy_buckets), raw.copy_ns),
        lost=_lost(raw, missed),
        programs=programs,
        decision_checks=checks,
        exec_discards=_discards(raw),
        processes=costs.processes() if costs else (),
        cgroups=costs.cgroups() if costs else (),
        forks_started=raw.forks_started,
        forks_in_progress=in_progress,
        failures=_failures(raw.failed),
        parts=_parts(raw) if divided else {},
        vforks=Vforks(raw.vforks, raw.vfork_ns),
        run_delay_ns=raw.run_delay,
        pinned_bytes=raw.pinned_bytes if counts_pages else None,
    )


def _failures(counts: Sequence[int]) -> dict[str, int]:
    """Return how many forks failed, by errno."""
    last = len(counts) - 1
    names = ("other", *map(errno_name, range(1, last)), errno_name(_ERESTARTNOINTR))
    return {name: count for name, count in zip(names, counts) if count}


def _parts(raw: Any) -> dict[str, Histogram]:
    return {
        name: Histogram(BUCKET_BOUNDS_NS, tuple(counts), ns)
        for name, counts, ns in zip(PARTS, raw.part_buckets, raw.part_ns)
    }


def unseen_copies(raw: Any, missed: Mapping[str, int]) -> int:
    """Return how many disagreements only mean that the branch's probe was not run.

    A skip shows there by silence, so a run that the kernel left out looks like one.
    """
    known: int = raw.lost[LOST_STAGES.index("witness")]
    disagreed: int = raw.disagree[SOURCES.index("branch")]
    return max(0, min(disagreed, missed.get("witness_branch", 0) - known))


def _lost(raw: Any, missed: Mapping[str, int]) -> dict[str, int]:
    """Return what was lost by stage; of what was missed as a whole, the most it can be.

    A run that was left out may have been for a thread, or for a fork that is not
    followed, and then nothing was lost.
    """
    lost = dict(zip(LOST_STAGES, raw.lost))
    lost["witness"] += unseen_copies(raw, missed)
    for stage in MISSED:
        lost[stage] = lost.get(stage, 0) + _missed(raw, stage, missed)
    return lost


def _missed(raw: Any, stage: str, missed: Mapping[str, int]) -> int:
    """Return how often no program of a stage ran, nor another that makes up for it."""
    programs, made_up = MISSED[stage]
    runs = sum(missed.get(program, 0) for program in programs)
    known: int = raw.lost[LOST_STAGES.index(made_up)] if made_up else 0
    return max(0, runs - known)


def vmas_of(raw: Any) -> int:
    """Return how many VMAs came to copy_page_range(), of forks that are settled."""
    return int(raw.skip + sum(row.vmas for row in raw.rows))


def _discards(raw: Any) -> ExecDiscards:
    return ExecDiscards(raw.discards, raw.discarded_ns, raw.discarded_bytes)


class Assembler:
    """Puts each fork together from its VMA events and the fork event that ends them.

    A thread's VMA events come before its fork event, for it alone writes them.
    """

    _UNFINISHED = 1024
    """How many forks may wait for their end; the oldest ones' was lost."""

    def __init__(
        self,
        layout: Layout,
        naming: Naming,
        cgroup_path: Callable[[int], str],
        deliver: Callable[[Fork], None],
        deliver_exec: Callable[[Exec], None],
        in_doubt: Callable[[int], bool] = lambda start_ns: False,
        deliver_vfork: Callable[[Vfork], None] = lambda vfork: None,
        who_called: WhoCalled | None = None,
        counts_pages: Callable[[], bool] = lambda: True,
    ) -> None:
        """Hand over each whole fork, each exec of a forked child, and each vfork.

        ``who_called`` makes a stack of what was copied of it. ``in_doubt`` tells of a
        fork's start (monotonic, ns) whether copies of it may have been missed wholly,
        ``counts_pages`` whether copied pages are counted.
        """
        self._in_doubt = in_doubt
        self._who_called = who_called
        self._counts_pages = counts_pages
        self._layout = layout
        self._naming = naming
        self._cgroup_path = cgroup_path
        self._deliver = deliver
        self._deliver_exec = deliver_exec
        self._deliver_vfork = deliver_vfork
        # By thread: when its fork began, and its VMAs so far.
        self._vmas: dict[int, tuple[int, list[Vma]]] = {}
        # By thread: when its fork began, and who called it.
        self._stacks: dict[int, tuple[int, Stack | None]] = {}

    def receive(self, address: int, _size: int) -> None:
        """Take one record of the ring buffer."""
        kind = ctypes.c_uint32.from_address(address).value
        if kind == VMA_EVENT:
            self._keep(VmaEvent.from_address(address))
        elif kind == FORK_EVENT:
            self._deliver(self._fork(self._layout.ForkSlot.from_address(address)))
        elif kind == EXEC_EVENT:
            self._deliver_exec(_exec(Child.from_address(address)))
        elif kind == STACK_EVENT:
            self._keep_stack(StackEvent.from_address(address), address)
        elif kind == VFORK_EVENT:
            child = Child.from_address(address)
            self._deliver_vfork(_vfork(child, self._cgroup_path(child.cgroup)))

    def _keep(self, event: VmaEvent) -> None:
        """Put a VMA with its fork; an older fork of that thread lost its end."""
        began, vmas = self._vmas.get(event.tid, (-1, []))
        if began != event.fork_start_ns:
            vmas = []
            self._wait(self._vmas, event.tid, (event.fork_start_ns, vmas))
        vmas.append(self._naming.vma(event, counts_pages=self._counts_pages()))

    def _keep_stack(self, event: StackEvent, address: int) -> None:
        """Name the callers at once: their process may be gone when the fork ends."""
        if not self._who_called:
            return
        first = address + ctypes.sizeof(StackEvent)
        registers = (ctypes.c_uint64 * abi().registers.words).from_address(first)
        memory = ctypes.string_at(first + ctypes.sizeof(registers), event.size)
        stack = self._who_called(event.pid, list(registers), memory)
        self._wait(self._stacks, event.tid, (event.fork_start_ns, stack))

    def _wait(self, waiting: dict[int, _T], tid: int, what: _T) -> None:
        """Keep something of a thread's fork until that ends."""
        waiting.pop(tid, None)
        waiting[tid] = what
        if len(waiting) > self._UNFINISHED:
            del waiting[next(iter(waiting))]

    def _stack_of(self, slot: Any) -> Stack | None:
        began, stack = self._stacks.pop(slot.tid, (-1, None))
        return stack if began == slot.start_ns else None

    def _vmas_of(self, slot: Any) -> tuple[Vma, ...]:
        began, vmas = self._vmas.pop(slot.tid, (-1, []))
        return tuple(vmas) if began == slot.start_ns else ()

    def _fork(self, slot: Any) -> Fork:
        triggers = self._naming.costs(slot.rows)
        ok = slot.ret > 0
        details = self._vmas_of(slot) if slot.details else None
        return Fork(
            time_ns=wall_time_ns(slot.start_ns),
            pid=slot.pid,
            tid=slot.tid,
            comm=decode_comm(slot.comm),
            child_pid=slot.child_pid if ok else 0,
            cgroup=self._cgroup_path(slot.cgroup),
            outcome="ok" if ok else "failed",
            errno=None if ok else errno_name(-slot.ret),
            duration_ns=slot.duration_ns,
            copy_ns=slot.copy_ns,
            page_table_bytes=sum(cost.page_table_bytes for cost in triggers),
            vmas=self._counts(slot),
            triggers=triggers,
            details=details,
            thread=decode_comm(slot.thread),
            parts=Parts(*slot.parts) if any(slot.parts) else None,
            run_delay_ns=slot.run_delay,
            stack=self._stack_of(slot),
            pinned_bytes=slot.pinned_bytes if self._counts_pages() else None,
        )

    def _counts(self, slot: Any) -> VmaCounts:
        """Count decisions; of a fork without a child only those that were seen."""
        seen = VmaCounts(
            copy=slot.calls - slot.skipped - slot.unknown,
            skip=slot.skipped,
            unknown=slot.unknown,
        )
        if slot.ret <= 0:
            return seen
        seen = replace(seen, dontcopy=slot.parent_vmas - slot.child_vmas)
        unmet = slot.child_vmas - slot.calls
        if unmet and self._in_doubt(slot.start_ns):
            return replace(seen, unknown=seen.unknown + unmet)
        return replace(seen, wipeonfork=unmet)


def wall_time_ns(kernel_ns: int) -> int:
    """Return wall time for the kernel's monotonic one, in ns.

    The distance is measured each time: it changes when the clock is set, and with
    each suspend, during which the monotonic clock stands still.
    """
    return time.time_ns() - time.monotonic_ns() + kernel_ns


def _exec(child: Child) -> Exec:
    return Exec(
        pid=child.pid,
        parent=child.parent,
        comm=decode_comm(child.comm),
        after_ns=child.after_ns,
        copy_ns=child.copy_ns,
        page_table_bytes=child.page_table_bytes,
    )


def _vfork(child: Child, cgroup: str) -> Vfork:
    return Vfork(
        time_ns=wall_time_ns(child.forked_ns),
        pid=child.parent,
        tid=child.tid,
        comm=decode_comm(child.comm),
        thread=decode_comm(child.thread),
        child_pid=child.pid,
        cgroup=cgroup,
        held_ns=child.after_ns,
        ended="exec" if child.execs else "exit",
    )


_ERESTARTNOINTR = 513
# What the kernel uses inside and libc never sees, include/linux/errno.h.
_KERNEL_ERRNOS = {
    512: "ERESTARTSYS",
    _ERESTARTNOINTR: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    516: "ERESTART_RESTARTBLOCK",
}


def errno_name(number: int) -> str:
    """Return the name of an errno, kernel-internal ones too."""
    return (
        errno.errorcode.get(number) or _KERNEL_ERRNOS.get(number) or f"errno_{number}"
    )
