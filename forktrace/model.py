"""Plain data: what one fork did, and the totals of all of them.

Every number here came from the kernel. Durations are nanoseconds, sizes are bytes,
addresses and flags are integers as the kernel holds them. ``Fork.to_json`` is the
published JSON form (schema 1); nothing else in forktrace builds that object. What
``from_json`` reads may come from anywhere: it raises ValueError, KeyError or TypeError
when something is not what it should be.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

from forktrace.cow import CowTotals
from forktrace.fields import hex_of, number_of, rfc3339, text_of, time_of, words_of
from forktrace.stacks.frames import Stack

SCHEMA = 1
"""Version of every JSON object that forktrace prints."""

Decision = Literal["copy", "skip", "dontcopy", "wipeonfork"]
Source = Literal["return", "branch", "rule", "proc"]
"""Who told a decision; ``proc`` are DONTCOPY and WIPEONFORK VMAs, read from /proc."""
Outcome = Literal["ok", "failed"]


@dataclass(frozen=True)
class Vma:
    """One VMA of the parent and what fork did with it.

    ``flags`` names the bits of ``src_flags``. ``trigger`` is None unless ``decision``
    is ``copy``. ``dst_flags`` is 0 for a ``dontcopy`` VMA: the child has none. For
    ``run_delay_ns`` of ``copy_ns`` the task was ready to run and had no CPU: it was
    preempted, and this VMA is not to blame. ``pinned_bytes``: as in ``Fork``.
    """

    start: int
    end: int
    src_flags: int
    dst_flags: int
    flags: tuple[str, ...]
    anon_vma: bool
    decision: Decision
    source: Source
    trigger: str | None
    copy_ns: int
    page_table_bytes: int
    run_delay_ns: int = 0
    pinned_bytes: int | None = None

    @property
    def run_ns(self) -> int:
        """The part of ``copy_ns`` in which the task had a CPU."""
        return max(0, self.copy_ns - self.run_delay_ns)

    def to_json(self) -> dict[str, Any]:
        """Return one entry of ``details``."""
        return {
            "start": f"{self.start:#x}",
            "end": f"{self.end:#x}",
            "src_flags": f"{self.src_flags:#x}",
            "dst_flags": f"{self.dst_flags:#x}",
            "flags": list(self.flags),
            "anon_vma": self.anon_vma,
            "decision": self.decision,
            "source": self.source,
            "trigger": self.trigger,
            "copy_ns": self.copy_ns,
            "run_delay_ns": self.run_delay_ns,
            "page_table_bytes": self.page_table_bytes,
            "pinned_bytes": self.pinned_bytes,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Vma:
        """Return what ``to_json`` made this of."""
        trigger = record["trigger"]
        return cls(
            start=hex_of(record, "start"),
            end=hex_of(record, "end"),
            src_flags=hex_of(record, "src_flags"),
            dst_flags=hex_of(record, "dst_flags"),
            flags=words_of(record, "flags"),
            anon_vma=bool(record["anon_vma"]),
            decision=cast(Decision, text_of(record, "decision")),
            source=cast(Source, text_of(record, "source")),
            trigger=None if trigger is None else text_of(record, "trigger"),
            copy_ns=number_of(record, "copy_ns"),
            page_table_bytes=number_of(record, "page_table_bytes"),
            run_delay_ns=_newer(record, "run_delay_ns"),
            pinned_bytes=_if_known(record, "pinned_bytes"),
        )


def _newer(record: Mapping[str, Any], name: str) -> int:
    """Return a number that is missing in what forktrace 0.1 wrote: 0 there."""
    return number_of(record, name) if name in record else 0


def _if_known(record: Mapping[str, Any], name: str) -> int | None:
    """Return a number that may be null, or missing as in what forktrace 0.1 wrote."""
    return None if record.get(name) is None else number_of(record, name)


@dataclass(frozen=True)
class VmaCounts:
    """How many VMAs of the parent met each decision.

    ``unknown`` are those that every probe missed.
    """

    copy: int = 0
    skip: int = 0
    dontcopy: int = 0
    wipeonfork: int = 0
    unknown: int = 0

    @property
    def every(self) -> int:
        """How many there are in all."""
        return self.copy + self.skip + self.dontcopy + self.wipeonfork + self.unknown

    def to_json(self) -> dict[str, int]:
        """Return the ``vmas`` object."""
        return {
            "copy": self.copy,
            "skip": self.skip,
            "dontcopy": self.dontcopy,
            "wipeonfork": self.wipeonfork,
            "unknown": self.unknown,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> VmaCounts:
        """Return what ``to_json`` made this of."""
        return cls(
            copy=number_of(record, "copy"),
            skip=number_of(record, "skip"),
            dontcopy=number_of(record, "dontcopy"),
            wipeonfork=number_of(record, "wipeonfork"),
            unknown=_newer(record, "unknown"),
        )


@dataclass(frozen=True)
class TriggerCost:
    """What the copies of one (trigger, anon_vma) cost.

    ``trigger`` is the bits' lower-case names in bit order joined by ``+``, or
    ``anon_vma`` when no bit was set. ``anon_vma`` tells whether the VMAs had one.
    """

    trigger: str
    anon_vma: bool
    vmas: int
    copy_ns: int
    page_table_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return one entry of ``triggers``."""
        return {
            "trigger": self.trigger,
            "anon_vma": self.anon_vma,
            "vmas": self.vmas,
            "copy_ns": self.copy_ns,
            "page_table_bytes": self.page_table_bytes,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TriggerCost:
        """Return what ``to_json`` made this of."""
        return cls(
            trigger=text_of(record, "trigger"),
            anon_vma=bool(record["anon_vma"]),
            vmas=number_of(record, "vmas"),
            copy_ns=number_of(record, "copy_ns"),
            page_table_bytes=number_of(record, "page_table_bytes"),
        )


@dataclass(frozen=True)
class Parts:
    """What the time of one fork is made of, in ns; they add up to its duration.

    ``setup`` goes up to dup_mmap(), ``mmap_lock`` is the wait for the parent's lock of
    that name, ``vmas`` the duplication of VMAs and anon_vmas without ``copy``, which is
    copy_page_range(); ``finish`` is all that comes after dup_mmap().
    """

    setup: int
    mmap_lock: int
    vmas: int
    copy: int
    finish: int

    def to_json(self) -> dict[str, int]:
        """Return the ``parts`` object."""
        return parts_to_json(vars(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Parts:
        """Return what ``to_json`` made this of."""
        return cls(*(number_of(record, f"{name}_ns") for name in PARTS))


def parts_to_json(parts: Mapping[str, int]) -> dict[str, int]:
    """Return the ``parts`` object of one fork or of many: nanoseconds by part."""
    return {f"{name}_ns": value for name, value in parts.items()}


PARTS = tuple(each.name for each in fields(Parts))
"""The names of the parts, in the order in which they come."""


@dataclass(frozen=True)
class Fork:
    """One call of fork() (kernel_clone without CLONE_VM).

    It lasts from its entry until the child has been woken, or until it fails.

    ``time_ns`` is the entry in nanoseconds since the epoch. ``pid`` is the parent's
    thread group and ``tid`` the thread that called; ``child_pid`` is 0 when the fork
    failed. All three are numbers of the initial PID namespace. ``comm`` is the name of
    the process, which is its first thread's, and ``thread`` that of the thread that
    called. ``parts`` is None where the kernel does not show them or one was missed,
    ``details`` unless each VMA was asked for, ``stack`` unless stacks were and this one
    could be read. For ``run_delay_ns`` of it the task was ready to run and had no CPU.
    ``pinned_bytes`` are pages that fork copied, not only their entries, because the
    parent has them pinned for a device; None where this kernel does not let them be
    counted.
    """

    time_ns: int
    pid: int
    tid: int
    comm: str
    child_pid: int
    cgroup: str
    outcome: Outcome
    errno: str | None
    duration_ns: int
    copy_ns: int
    page_table_bytes: int
    vmas: VmaCounts
    triggers: tuple[TriggerCost, ...]
    details: tuple[Vma, ...] | None = None
    thread: str = ""
    parts: Parts | None = None
    run_delay_ns: int = 0
    stack: Stack | None = None
    pinned_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the published JSON object of one fork, schema 1."""
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "time": rfc3339(self.time_ns),
            "pid": self.pid,
            "tid": self.tid,
            "comm": self.comm,
            "thread": self.thread,
            "child_pid": self.child_pid,
            "cgroup": self.cgroup,
            "outcome": self.outcome,
            "errno": self.errno,
            "duration_ns": self.duration_ns,
            "copy_ns": self.copy_ns,
            "parts": self.parts.to_json() if self.parts else None,
            "run_delay_ns": self.run_delay_ns,
            "page_table_bytes": self.page_table_bytes,
            "pinned_bytes": self.pinned_bytes,
            "vmas": self.vmas.to_json(),
            "triggers": [trigger.to_json() for trigger in self.triggers],
        }
        if self.details is not None:
            record["details"] = [vma.to_json() for vma in self.details]
        if self.stack is not None:
            record["stack"] = self.stack.to_json()
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Fork:
        """Return what ``to_json`` made this of."""
        errno, details = record["errno"], record.get("details")
        # Neither is in what forktrace 0.1 wrote.
        thread, parts = record.get("thread"), record.get("parts")
        stack = record.get("stack")
        return cls(
            time_ns=time_of(record),
            pid=number_of(record, "pid"),
            tid=number_of(record, "tid"),
            comm=text_of(record, "comm"),
            child_pid=number_of(record, "child_pid"),
            cgroup=text_of(record, "cgroup"),
            outcome="ok" if record["outcome"] == "ok" else "failed",
            errno=None if errno is None else text_of(record, "errno"),
            duration_ns=number_of(record, "duration_ns"),
            copy_ns=number_of(record, "copy_ns"),
            page_table_bytes=number_of(record, "page_table_bytes"),
            vmas=VmaCounts.from_json(record["vmas"]),
            triggers=tuple(map(TriggerCost.from_json, record["triggers"])),
            details=None if details is None else tuple(map(Vma.from_json, details)),
            thread="" if thread is None else text_of(record, "thread"),
            parts=None if parts is None else Parts.from_json(parts),
            run_delay_ns=_newer(record, "run_delay_ns"),
            stack=None if stack is None else Stack.from_json(stack),
            pinned_bytes=_if_known(record, "pinned_bytes"),
        )


@dataclass
class Sums:
    """What some forks did, added up one by one."""

    forks: int = 0
    failed: int = 0
    duration_ns: int = 0
    copy_ns: int = 0
    page_table_bytes: int = 0
    pinned_bytes: int = 0

    def add(self, fork: Fork) -> None:
        """Add one."""
        self.forks += 1
        self.failed += fork.outcome == "failed"
        self.duration_ns += fork.duration_ns
        self.copy_ns += fork.copy_ns
        self.page_table_bytes += fork.page_table_bytes
        self.pinned_bytes += fork.pinned_bytes or 0


@dataclass(frozen=True)
class Histogram:
    """Counts of durations: ``counts[i]`` is how many lie in bucket i, not cumulative.

    Bucket i holds what is at most ``bounds_ns[i]`` and more than the bound before it;
    one more count at the end holds what exceeds every bound.
    """

    bounds_ns: tuple[int, ...]
    counts: tuple[int, ...]
    sum_ns: int

    def coarser(self, bounds_ns: tuple[int, ...]) -> Histogram:
        """Return the same with fewer buckets: ``bounds_ns`` are some of its own."""
        merged = [0] * (len(bounds_ns) + 1)
        for bound, count in zip((*self.bounds_ns, None), self.counts):
            place = len(bounds_ns) if bound is None else bisect_left(bounds_ns, bound)
            merged[place] += count
        return Histogram(bounds_ns, tuple(merged), self.sum_ns)


@dataclass(frozen=True)
class ExecDiscards:
    """Page tables copied for children that then replaced them by exec."""

    discards: int = 0
    copy_ns: int = 0
    page_table_bytes: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it for a recording."""
        return {
            "discards": self.discards,
            "copy_ns": self.copy_ns,
            "page_table_bytes": self.page_table_bytes,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ExecDiscards:
        """Return what ``to_json`` made this of."""
        return cls(
            discards=number_of(record, "discards"),
            copy_ns=number_of(record, "copy_ns"),
            page_table_bytes=number_of(record, "page_table_bytes"),
        )


@dataclass(frozen=True)
class Vforks:
    """Calls of vfork and posix_spawn, which copy nothing and stop the thread instead.

    ``held_ns`` is for how long: from when the child is woken until it calls exec or
    exits. Those that still wait are not in it.
    """

    calls: int = 0
    held_ns: int = 0

    def since(self, before: Vforks) -> Vforks:
        """Return the growth."""
        return Vforks(self.calls - before.calls, self.held_ns - before.held_ns)

    def to_json(self) -> dict[str, int]:
        """Return its keys in the object that it belongs to."""
        return {"vforks": self.calls, "vfork_held_ns": self.held_ns}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Vforks:
        """Return what stands in an object; nothing where forktrace 0.1 wrote it."""
        if "vforks" not in record:
            return cls()
        return cls(number_of(record, "vforks"), number_of(record, "vfork_held_ns"))


@dataclass(frozen=True)
class ProcessCost:
    """What the forks of all processes of one name cost, and how much was wasted.

    ``triggers`` are the parts that each trigger has in it. ``failed`` of the forks did.
    """

    comm: str
    forks: int
    copy_ns: int
    page_table_bytes: int
    exec_discards: ExecDiscards = ExecDiscards()
    triggers: tuple[TriggerCost, ...] = ()
    failed: int = 0
    vforks: Vforks = Vforks()


OTHER = "other"
"""What all the rest is called. A name that really reads so counts there as well."""

CGROUP_NAME = 128
"""Bytes that the kernel side keeps of a cgroup's name, the NUL at its end included."""


@dataclass(frozen=True)
class CgroupCost:
    """What the forks of the processes in one cgroup cost, not of those below it.

    ``cgroup`` is the id that cgroup v2 gives it. ``name`` and ``parent`` are the last
    two parts of its path as the kernel knew them at its first fork, cut after 127
    bytes; empty for the root, and where the kernel's BTF does not tell. All the cgroups
    that found no place are together in one of id 0.
    """

    cgroup: int
    name: str
    parent: str
    forks: int
    copy_ns: int
    page_table_bytes: int


@dataclass(frozen=True)
class Exec:
    """A forked child that called exec: what its parent's fork copied was for nothing.

    ``after_ns`` is the time from the entry of fork to exec; ``comm`` and ``parent``
    are the parent's name and process id.
    """

    pid: int
    parent: int
    comm: str
    after_ns: int
    copy_ns: int
    page_table_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it for a recording."""
        return {
            "pid": self.pid,
            "parent": self.parent,
            "comm": self.comm,
            "after_ns": self.after_ns,
            "copy_ns": self.copy_ns,
            "page_table_bytes": self.page_table_bytes,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Exec:
        """Return what ``to_json`` made this of."""
        return cls(
            pid=number_of(record, "pid"),
            parent=number_of(record, "parent"),
            comm=text_of(record, "comm"),
            after_ns=number_of(record, "after_ns"),
            copy_ns=number_of(record, "copy_ns"),
            page_table_bytes=number_of(record, "page_table_bytes"),
        )


@dataclass(frozen=True)
class ProgramCost:
    """What one of our own BPF programs cost, from the kernel's BPF statistics."""

    program: str
    run_ns: int
    runs: int


@dataclass(frozen=True)
class Totals:
    """Sums over every fork since the probes were attached, added up in the kernel.

    ``forks`` is keyed by outcome, ``lost`` by stage, ``failures`` by the name of the
    errno, ``parts`` as ``Parts``; it is empty where the kernel does not show them.
    ``decision_checks`` is keyed by (source, result) with result ``agree`` or
    ``disagree``. ``forks_in_progress`` is no sum: it counts the forks that have started
    and neither made a child nor failed. ``pinned_bytes``: as in ``Fork``.
    """

    forks: dict[Outcome, int]
    vmas: VmaCounts
    triggers: tuple[TriggerCost, ...]
    fork_duration: Histogram
    copy_duration: Histogram
    lost: dict[str, int]
    decision_checks: dict[tuple[Source, str], int] = field(default_factory=dict)
    exec_discards: ExecDiscards = field(default_factory=ExecDiscards)
    processes: tuple[ProcessCost, ...] = ()
    cgroups: tuple[CgroupCost, ...] = ()
    programs: tuple[ProgramCost, ...] = ()
    forks_started: int = 0
    forks_in_progress: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    parts: dict[str, Histogram] = field(default_factory=dict)
    vforks: Vforks = Vforks()
    run_delay_ns: int = 0
    pinned_bytes: int | None = None
    cow: CowTotals | None = None

    @property
    def part_ns(self) -> dict[str, int]:
        """What the time of all forks was spent on."""
        return {name: part.sum_ns for name, part in self.parts.items()}


@dataclass(frozen=True)
class KernelInfo:
    """Which kernel is traced and how: the labels of ``forktrace_kernel_info``.

    ``node`` is what Kubernetes calls the host, where it does.
    """

    release: str
    attach: Literal["fentry", "kprobe"]
    mask: int
    read_from: Literal["code", "btf", "table"]
    node: str = ""
