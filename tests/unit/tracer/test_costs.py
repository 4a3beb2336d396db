"""The table of costs: names in several places, shared places, places given back."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import pytest

from forktrace.libbpf import MappedArray
from forktrace.model import CgroupCost, ExecDiscards, TriggerCost
from forktrace.tracer.costs import Costs
from forktrace.tracer.layout import WHOSE, CgroupNames, Cost, Layout

PLACES = 4
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
    """The maps, as the kernel fills them."""

    def __init__(self) -> None:
        self.costs = Array(Cost, len(WHOSE) * (PLACES + 1))
        self.rows = Array(LAYOUT.CommRows, PLACES + 1)
        self.names = Array(CgroupNames, PLACES + 1)
        self.read = Costs(
            {"costs": self.costs, "comm_rows": self.rows, "cgroup_names": self.names},
            ROWS,
        )

    def comm(self, place: int, name: bytes, **sums: int) -> None:
        words = (ctypes.c_uint64 * 2).from_buffer_copy(name.ljust(16, b"\0"))
        self.costs.put(place, key=words, taken=place < PLACES, **sums)

    def row(self, place: int, number: int, *values: int) -> None:
        rows = self.rows.read(place).rows
        members = ("vmas", "copy_ns", "page_table_bytes")
        for member, value in zip(members, values):
            setattr(rows[number], member, value)
        self.rows.put(place, rows=rows)

    def cgroup(self, place: int, number: int, own: bytes, **sums: int) -> None:
        self.names.put(place, own=own, parent=b"system.slice")
        key = (ctypes.c_uint64 * 2)(number, 0)
        self.costs.put(PLACES + 1 + place, key=key, taken=1, **sums)


@pytest.fixture
def table() -> Table:
    return Table()


def test_names_in_two_places_are_added_up_and_the_last_place_is_the_others(
    table: Table,
) -> None:
    table.comm(0, b"sh", forks=2, copy_ns=30, page_table_bytes=4096, discards=1)
    table.comm(1, b"other", forks=10)
    table.comm(3, b"sh", forks=5)
    table.comm(PLACES, b"", forks=100)
    shown = {each.comm: each for each in table.read.processes()}
    assert {name: each.forks for name, each in shown.items()} == {"other": 110, "sh": 7}
    assert (shown["sh"].copy_ns, shown["sh"].page_table_bytes) == (30, 4096)
    assert shown["sh"].exec_discards == ExecDiscards(1, 0, 0)


def test_what_a_name_copied_is_told_by_trigger(table: Table) -> None:
    table.comm(0, b"sh", forks=1)
    table.row(0, 3, 1, 20, 4096)
    table.comm(2, b"sh", forks=1)
    table.row(2, 1, 2, 30, 0)
    table.row(2, 3, 4, 40, 4096)
    for _ in range(2):
        (shell,) = (each for each in table.read.processes() if each.comm == "sh")
        assert set(shell.triggers) == {
            TriggerCost("pfnmap", True, 5, 60, 8192),
            TriggerCost("anon_vma", True, 2, 30, 0),
        }
    table.comm(2, b"sh", forks=2)
    table.row(2, 1, 3, 35, 0)
    (shell,) = (each for each in table.read.processes() if each.comm == "sh")
    assert TriggerCost("anon_vma", True, 3, 35, 0) in shell.triggers


def test_a_cgroup_is_named_as_the_kernel_did_and_anew_in_the_next_turn(
    table: Table,
) -> None:
    table.cgroup(1, 77, b"cron.service", forks=3, copy_ns=5, page_table_bytes=9)
    ours = CgroupCost(77, "cron.service", "system.slice", 3, 5, 9)
    shared = CgroupCost(0, "other", "", 0, 0, 0)
    assert table.read.cgroups() == (ours, shared)
    table.read.give_back([78])
    assert table.read.cgroups() == (ours, shared)
    table.read.give_back([77])
    assert table.read.cgroups() == (shared,)
    table.cgroup(1, 91, b"later.service", forks=1)
    later, _ = table.read.cgroups()
    assert (later.cgroup, later.name) == (91, "later.service")


def test_the_shared_places_are_never_given_back(table: Table) -> None:
    table.costs.put(2 * PLACES + 1, forks=4)
    table.read.give_back([0])
    assert table.read.cgroups() == (CgroupCost(0, "other", "", 4, 0, 0),)
