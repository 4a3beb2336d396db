"""Follows what copy-on-write costs after forks: bpf/cow.c, and what it sends."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from ctypes import Structure, c_char, c_uint32, c_uint64
from dataclasses import dataclass, replace

from forktrace import libbpf
from forktrace.cow import Cow, CowCost, CowMapping, CowTotals
from forktrace.errors import Unsupported
from forktrace.kernel.btf import Btf
from forktrace.kernel.page_copies import (
    FAULTING,
    WHERE_FAULTED,
    Call,
    find_page_copies,
)
from forktrace.kernel.symbols import Symbols
from forktrace.text import decode_comm
from forktrace.tracer import program
from forktrace.tracer.attach import Place, Probes, open_kprobe
from forktrace.tracer.child import in_child
from forktrace.tracer.compiler import source
from forktrace.tracer.hidden import located
from forktrace.tracer.kernel_text import read_text
from forktrace.tracer.layout import COMM_LEN
from forktrace.tracer.objects import KPROBE

LOST_STAGES = ("cow_mm", "cow_fault", "cow_event")
"""``enum lost`` in order: memory that is not followed, times of faults, lines."""

_SPLIT = "do_huge_pmd_wp_page"
_MMS, _FAULTS, _MAPPINGS, _MUCH_PAGES = 4096, 4096, 32, 16
_RING_BYTES = 4 << 20
_PROGRAMS = (
    *("child_shares", "fault_begins", "page_is_copied", "fault_ends"),
    *("split_ends", "mm_ends", "mm_has_ended"),
)


class _Cost(Structure):
    """``struct cost``."""

    _fields_ = (
        ("pages", c_uint64),
        ("copy_ns", c_uint64),
        ("splits", c_uint64),
        ("split_ns", c_uint64),
    )


class _Mapping(Structure):
    """``struct mapping``."""

    _fields_ = (("start", c_uint64), ("pages", c_uint64), ("ns", c_uint64))


class _Sharer(Structure):
    """``struct sharer``."""

    _fields_ = (
        ("pid", c_uint32),
        ("parent", c_uint32),
        ("parent_mm", c_uint64),
        ("forked_ns", c_uint64),
        ("lived_ns", c_uint64),
        ("teardown_ns", c_uint64),
        ("execs", c_uint64),
        ("children", c_uint64),
        ("own", _Cost),
        ("parents", _Cost),
        ("mappings", _Mapping * _MAPPINGS),
        ("parents_mappings", _Mapping * _MAPPINGS),
        ("comm", c_char * COMM_LEN),
    )


class _Totals(Structure):
    """``struct cow_totals``."""

    _fields_ = (
        ("parents", _Cost),
        ("children", _Cost),
        ("ended", c_uint64),
        ("teardown_ns", c_uint64),
        ("lost", c_uint64 * len(LOST_STAGES)),
    )


@dataclass(frozen=True)
class _Prepared:
    loaded: program.Loaded
    copies: tuple[Call, ...]
    symbols: Symbols


class CowTracer:
    """Probes on write faults, from construction until ``close``.

    Raises Unsupported where the kernel hides the faults that copy.
    """

    def __init__(self, deliver: Callable[[Cow], None]) -> None:
        """Compile, load and attach; ``poll`` hands each child that ended over."""
        prepared, fds = in_child(_prepare)
        self._loaded = prepared.loaded.with_fds(fds)
        self._deliver = deliver
        self._probes = Probes()
        self._totals = libbpf.MappedArray(self._loaded.maps["cow_totals"], _Totals)
        self._ring = libbpf.RingBuffer(self._loaded.maps["cow_events"], self._receive)
        try:
            self._probes = _attach(replace(prepared, loaded=self._loaded))
        except BaseException:
            self.close()
            raise

    def poll(self) -> int:
        """Deliver what there is; return 0 when there was nothing."""
        return self._ring.poll(0)

    def totals(self) -> CowTotals:
        """Return the sums, as the kernel holds them now."""
        raw = self._totals.read()
        return CowTotals(
            parents=_cost(raw.parents),
            children=_cost(raw.children),
            ended=raw.ended,
            teardown_ns=raw.teardown_ns,
            lost=dict(zip(LOST_STAGES, raw.lost)),
        )

    def detach(self) -> None:
        """Take the probes away; what they told stays until ``close``."""
        self._probes.close()

    def close(self) -> None:
        """Detach and unload."""
        self.detach()
        self._ring.close()
        self._totals.close()
        self._loaded.close()

    def _receive(self, address: int, _size: int) -> None:
        sharer = _Sharer.from_address(address)
        self._deliver(
            Cow(
                pid=sharer.pid,
                parent=sharer.parent,
                comm=decode_comm(sharer.comm),
                lived_ns=sharer.lived_ns,
                execs=bool(sharer.execs),
                parents=_cost(sharer.parents) if sharer.parent_mm else None,
                child=_cost(sharer.own),
                teardown_ns=sharer.teardown_ns,
                mappings=_mappings(sharer),
            )
        )


def _prepare() -> tuple[_Prepared, list[int]]:
    symbols = located(Symbols.read(*WHERE_FAULTED, _SPLIT), WHERE_FAULTED)
    copies = find_page_copies(symbols, os.uname().machine, read_text, FAULTING)
    if not copies:
        raise Unsupported(
            "This kernel does not show where a write fault copies a page.",
            "Leave --cow out.",
        )
    with Btf.of_running_kernel() as btf:
        macros = {
            "OFF_TASK_MM": str(btf.offset("task_struct", "mm", 8)),
            "OFF_TASK_PID": str(btf.offset("task_struct", "pid", 4)),
            "OFF_TASK_FLAGS": str(btf.offset("task_struct", "flags", 4)),
            "OFF_TASK_GROUP_LEADER": str(btf.offset("task_struct", "group_leader", 8)),
            "OFF_TASK_COMM": str(btf.text_offset("task_struct", "comm", COMM_LEN)),
            "OFF_VMF_VMA": str(btf.offset("vm_fault", "vma", 8)),
            "OFF_VMA_START": str(btf.offset("vm_area_struct", "vm_start", 8)),
            "MMS": str(_MMS),
            "FAULTS": str(_FAULTS),
            "MAPPINGS": str(_MAPPINGS),
            "MUCH": str(_MUCH_PAGES),
        }
        loaded = program.load(
            source(macros, "cow.c"),
            dict.fromkeys(_PROGRAMS, program.Hook(KPROBE)),
            {"cow_totals": None, "cow_events": _RING_BYTES},
            btf,
        )
    return _Prepared(loaded, copies, symbols), loaded.fds()


def _attach(prepared: _Prepared) -> Probes:
    """Attach returns before entries, and the start of sharing last."""
    faulting = dict.fromkeys(call.function for call in prepared.copies)
    places = [("mm_has_ended", Place("exit_mmap", at_return=True))]
    places += [("fault_ends", Place(each, at_return=True)) for each in faulting]
    places += [("page_is_copied", Place(*call)) for call in prepared.copies]
    places += [("fault_begins", Place(each)) for each in faulting]
    if _SPLIT in prepared.symbols:
        places.append(("split_ends", Place(_SPLIT, at_return=True)))
        places.append(("fault_begins", Place(_SPLIT)))
    places += [("mm_ends", Place("exit_mmap"))]
    places += [("child_shares", Place("wake_up_new_task"))]
    with Probes.all_or_none() as probes:
        for name, place in places:
            probes.kprobe(prepared.loaded.programs[name], place, open_kprobe)
    return probes


def _mappings(sharer: _Sharer) -> tuple[CowMapping, ...]:
    """Return both sides' mappings together, the most expensive first."""
    nothing = _Mapping()
    parents = _by_start(sharer.parents_mappings) if sharer.parent_mm else {}
    childs = _by_start(sharer.mappings)
    both = [
        CowMapping(
            start=start,
            name=None,
            parents_bytes=parents.get(start, nothing).pages * mmap.PAGESIZE,
            parents_ns=parents.get(start, nothing).ns,
            child_bytes=childs.get(start, nothing).pages * mmap.PAGESIZE,
            child_ns=childs.get(start, nothing).ns,
        )
        for start in parents.keys() | childs.keys()
    ]
    return tuple(sorted(both, key=lambda each: -each.parents_ns - each.child_ns))


def _by_start(raw: Iterable[_Mapping]) -> dict[int, _Mapping]:
    return {each.start: each for each in raw if each.pages or each.ns}


def _cost(raw: _Cost) -> CowCost:
    return CowCost(
        raw.pages,
        raw.pages * mmap.PAGESIZE,
        *(raw.copy_ns, raw.splits, raw.split_ns),
    )
