"""The structs of bpf/forktrace.c as ctypes, field by field.

Two sizes depend on the kernel's rule and on the histogram, so the structs are made by
``Layout``. ``Session`` compares each size with the loaded map's before it reads.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_char, c_int64, c_uint32, c_uint64
from typing import Any

from forktrace.model import CGROUP_NAME, PARTS

BUCKET_BOUNDS_NS = (
    *(20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000),
    *(100_000_000, 200_000_000, 500_000_000),
    *(1_000_000_000, 2_000_000_000, 5_000_000_000, 10_000_000_000),
)
"""Upper bounds of the duration histograms: 20 us to 10 s in steps of 1, 2, 5."""

LOST_STAGES = (
    "fork_slot",
    "fork_entry",
    "fork_child",
    "fork_outcome",
    "fork_return",
    "copy",
    "copy_entry",
    "copy_return",
    "copy_time",
    "fork_parts",
    "witness",
    "exec_child",
    "fork_event",
    "vma_event",
    "exec_event",
    "vfork_event",
    "stack_event",
)
"""``enum lost`` in order: where something can be missed, each counted."""

MISSED = {
    "fork": (("child_made",), "fork_child"),
    "copy": (("copy_entry", "kfunc__copy_page_range"), "copy_entry"),
    "exec": (("child_execs",), None),
    "page": (("page_copied", "huge_page_copied"), None),
}
"""Stages whose programs, when the kernel left out a run, could count nothing
themselves, and the stage that counts how often another program made up for it."""

WAYS = ("fentry", "kprobe")
"""``enum way`` in order: which pair of programs follows the copies of a fork."""

ERRNOS = 64
"""Failed forks are counted by errno below the last, which is ERESTARTNOINTR; any other
counts as 0."""

SOURCES = ("rule", "return", "branch")
"""``enum source`` in order."""

FORK_EVENT = 1
VMA_EVENT = 2
EXEC_EVENT = 3
VFORK_EVENT = 4
STACK_EVENT = 5
COMM_LEN = 16
CHOICES = 16
"""How many processes, names or cgroups can be asked for at once."""

WATCHED_CGROUPS = 64
"""How many cgroups can be watched at once."""

WHOSE = ("comm", "cgroup")
"""``enum whose`` in order: whose costs the table holds, as many places for each."""


class Row(Structure):
    """``struct row``."""

    _fields_ = (
        ("vmas", c_uint64),
        ("copy_ns", c_uint64),
        ("page_table_bytes", c_uint64),
    )


class VmaEvent(Structure):
    """``struct vma_event``."""

    _fields_ = (
        ("type", c_uint32),
        ("tid", c_uint32),
        ("fork_start_ns", c_uint64),
        ("start", c_uint64),
        ("end", c_uint64),
        ("src_flags", c_uint64),
        ("dst_flags", c_uint64),
        ("copy_ns", c_uint64),
        ("page_table_bytes", c_uint64),
        ("run_delay", c_uint64),
        ("pinned_bytes", c_uint64),
        ("row", c_uint32),
        ("copied", c_uint32),
        ("source", c_uint32),
        ("anon_vma", c_uint32),
    )


class StackEvent(Structure):
    """``struct stack_event`` without what follows: registers, then ``size`` bytes."""

    _fields_ = (
        ("type", c_uint32),
        ("tid", c_uint32),
        ("fork_start_ns", c_uint64),
        ("pid", c_uint32),
        ("size", c_uint32),
    )


class Config(Structure):
    """``struct config``."""

    _fields_ = (
        ("observe", c_uint32),
        ("events", c_uint32),
        ("details", c_uint32),
        ("pids", c_uint32),
        ("comms", c_uint32),
        ("cgroups", c_uint32),
        ("event_gap_ns", c_uint64),
        ("vfork_ns", c_uint64),
        ("pid", c_uint32 * CHOICES),
        ("comm", c_char * COMM_LEN * CHOICES),
        ("counting", c_uint32),
        ("way", c_uint32),
        ("parts", c_uint32),
        ("stacks", c_uint32),
        ("watch", c_uint32),
        ("watched_cgroups", c_uint32),
        ("watched_cgroup", c_uint64 * WATCHED_CGROUPS),
    )


class Cost(Structure):
    """``struct cost``."""

    _fields_ = (
        ("key", c_uint64 * 2),
        ("taken", c_uint64),
        ("turn", c_uint64),
        ("forks", c_uint64),
        ("copy_ns", c_uint64),
        ("page_table_bytes", c_uint64),
        ("discards", c_uint64),
        ("discarded_ns", c_uint64),
        ("discarded_bytes", c_uint64),
        ("failed", c_uint64),
        ("vforks", c_uint64),
        ("vfork_ns", c_uint64),
    )


class CgroupNames(Structure):
    """``struct cgroup_names``."""

    _fields_ = (("own", c_char * CGROUP_NAME), ("parent", c_char * CGROUP_NAME))


class Child(Structure):
    """``struct child``."""

    _fields_ = (
        ("type", c_uint32),
        ("pid", c_uint32),
        ("parent", c_uint32),
        ("wanted", c_uint32),
        ("start_time", c_uint64),
        ("forked_ns", c_uint64),
        ("after_ns", c_uint64),
        ("copy_ns", c_uint64),
        ("page_table_bytes", c_uint64),
        ("comm", c_char * COMM_LEN),
        ("thread", c_char * COMM_LEN),
        ("cgroup", c_uint64),
        ("tid", c_uint32),
        ("execs", c_uint32),
    )


class Layout:
    """The structs whose size depends on how many bits the kernel's rule tests."""

    def __init__(self, rule_bits: int) -> None:
        """Lay out for a rule of ``rule_bits`` bits: two rows for each subset."""
        self.rows = 2 << rule_bits
        buckets = len(BUCKET_BOUNDS_NS) + 1
        rows = Row * self.rows

        class ForkSlot(Structure):
            """``struct fork_slot``."""

            _fields_ = (
                ("type", c_uint32),
                ("tid", c_uint32),
                ("pid", c_uint32),
                ("child_pid", c_uint32),
                ("ret", c_int64),
                ("start_ns", c_uint64),
                ("duration_ns", c_uint64),
                ("cgroup", c_uint64),
                ("comm", c_char * COMM_LEN),
                ("thread", c_char * COMM_LEN),
                ("parts", c_uint64 * len(PARTS)),
                ("parent_vmas", c_uint32),
                ("child_vmas", c_uint32),
                ("calls", c_uint32),
                ("skipped", c_uint32),
                ("unknown", c_uint32),
                ("index", c_uint32),
                ("way", c_uint32),
                ("late", c_uint32),
                ("task", c_uint64),
                ("page_tables", c_uint64),
                ("dst_mm", c_uint64),
                ("copy_ns", c_uint64),
                ("lock_ns", c_uint64),
                ("locked_ns", c_uint64),
                ("mapped_ns", c_uint64),
                ("run_delay", c_uint64),
                ("copy_delay", c_uint64),
                ("pinned_bytes", c_uint64),
                ("told_pinned", c_uint64),
                ("src", c_uint64),
                ("dst", c_uint64),
                ("copy_start_ns", c_uint64),
                ("inside", c_uint32),
                ("row", c_uint32),
                ("witness", c_uint32),
                ("observe", c_uint32),
                ("agree", c_uint32),
                ("disagree", c_uint32),
                ("wanted", c_uint32),
                ("details", c_uint32),
                ("rows", rows),
            )

        class KernelTotals(Structure):
            """``struct totals``."""

            _fields_ = (
                ("forks_started", c_uint64),
                ("forks_ok", c_uint64),
                ("forks_failed", c_uint64),
                ("skip", c_uint64),
                ("dontcopy", c_uint64),
                ("wipeonfork", c_uint64),
                ("fork_ns", c_uint64),
                ("copy_ns", c_uint64),
                ("last_event_ns", c_uint64),
                ("tasks", c_uint64),
                ("discards", c_uint64),
                ("discarded_ns", c_uint64),
                ("discarded_bytes", c_uint64),
                ("run_delay", c_uint64),
                ("vforks", c_uint64),
                ("vfork_ns", c_uint64),
                ("pinned_bytes", c_uint64),
                ("failed", c_uint64 * ERRNOS),
                ("part_ns", c_uint64 * len(PARTS)),
                ("part_buckets", c_uint64 * buckets * len(PARTS)),
                ("lost", c_uint64 * len(LOST_STAGES)),
                ("agree", c_uint64 * len(SOURCES)),
                ("disagree", c_uint64 * len(SOURCES)),
                ("fork_buckets", c_uint64 * buckets),
                ("copy_buckets", c_uint64 * buckets),
                ("odd_src_flags", c_uint64),
                ("odd_dst_flags", c_uint64),
                ("odd_anon_vma", c_uint64),
                ("odd_copied", c_uint64),
                ("rows", rows),
            )

        class CommRows(Structure):
            """``struct comm_rows``."""

            _fields_ = (("rows", rows),)

        self.CommRows: type[Any] = CommRows
        self.ForkSlot: type[Any] = ForkSlot
        self.KernelTotals: type[Any] = KernelTotals

    costs = 2048
    """How many names, and cgroups, have a place of their own: a power of two."""

    children = 16384
    """How many living children that have not called exec are known at once."""

    @property
    def slots(self) -> int:
        """How many forks can be under way at once: a power of two, in 8 MiB."""
        most = (8 << 20) // ctypes.sizeof(self.ForkSlot)
        return min(1024, 1 << (most.bit_length() - 1))

    def mapped(self) -> dict[str, type[Structure]]:
        """Return the maps that user space reads and writes, and their values."""
        return {
            "slots": self.ForkSlot,
            "totals": self.KernelTotals,
            "config": Config,
            "costs": Cost,
            "comm_rows": self.CommRows,
            "cgroup_names": CgroupNames,
        }

    def value_sizes(self) -> dict[str, int]:
        """Return the size in bytes that each map's value must have."""
        values: dict[str, type[Structure]] = {**self.mapped(), "children": Child}
        return {name: ctypes.sizeof(value) for name, value in values.items()}
