"""The table of costs in memory of our own, filled as the kernel fills it."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

from forktrace.libbpf import MappedArray
from forktrace.tracer.costs import Costs
from forktrace.tracer.layout import WHOSE, CgroupNames, Cost, Layout

LAYOUT = Layout(1)
ROWS = [("unknown", False), ("anon_vma", True), ("pfnmap", False), ("pfnmap", True)]


class Array(MappedArray):
    """An array in memory of our own instead of a map's."""

    def __init__(self, value: type[Any], entries: int) -> None:
        self._value, self.entries = value, entries
        self._size = ctypes.sizeof(value)
        self._memory = mmap.mmap(-1, self._size * entries)

    def put(self, index: int, **members: Any) -> None:
        element = self._value.from_buffer(self._memory, index * self._size)
        for name, value in members.items():
            setattr(element, name, value)


class Table:
    """The maps, with ``places`` for names, as many for cgroups, and the shared ones."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.costs = Array(Cost, len(WHOSE) * (places + 1))
        self.rows = Array(LAYOUT.CommRows, places + 1)
        self.names = Array(CgroupNames, places + 1)
        self.maps = {
            "costs": self.costs,
            "comm_rows": self.rows,
            "cgroup_names": self.names,
        }
        self.read = Costs(self.maps, ROWS)

    def comm(self, place: int, name: bytes, **sums: int) -> None:
        words = (ctypes.c_uint64 * 2).from_buffer_copy(name.ljust(16, b"\0"))
        self.costs.put(place, key=words, taken=place < self.places, **sums)

    def row(self, place: int, number: int, *values: int) -> None:
        rows = self.rows.read(place).rows
        members = ("vmas", "copy_ns", "page_table_bytes")
        for member, value in zip(members, values):
            setattr(rows[number], member, value)
        self.rows.put(place, rows=rows)

    def cgroup(self, place: int, number: int, own: bytes, **sums: int) -> None:
        self.names.put(place, own=own, parent=b"system.slice")
        key = (ctypes.c_uint64 * 2)(number, 0)
        self.costs.put(self.places + 1 + place, key=key, taken=1, **sums)
