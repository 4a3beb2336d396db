"""The table of costs: names in several places, shared places, places given back."""

from __future__ import annotations

import operator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forktrace.model import CgroupCost, ExecDiscards, ProcessCost, TriggerCost
from forktrace.tracer.costs import Costs
from tests.unit.tracer.tables import ROWS, Table

PLACES = 4


@pytest.fixture
def table() -> Table:
    return Table(PLACES)


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


def test_what_did_not_change_is_the_same_object_and_what_comes_late_is_seen(
    table: Table,
) -> None:
    table.comm(0, b"sh", forks=1)
    before = table.read.processes()
    table.row(0, 1, 1, 20, 0)
    shell, others = late = table.read.processes()
    assert shell.triggers == (TriggerCost("anon_vma", True, 1, 20, 0),)
    assert others is before[1]
    table.read.processes()
    assert all(map(operator.is_, late, table.read.processes()))
    table.comm(0, b"sh", forks=1, discards=3)
    assert table.read.processes()[0].exec_discards.discards == 3


@given(st.data())
def test_what_is_read_bit_by_bit_is_what_is_read_at_once(data: st.DataObject) -> None:
    table = Table(3 * PLACES)
    places = st.integers(0, table.places)
    names = st.sampled_from([b"sh", b"redis", b"other"])
    for turn in range(1, data.draw(st.integers(2, 15))):
        place = data.draw(places)
        what = data.draw(st.sampled_from(["comm", "cgroup", "gone", "look"]))
        if what == "comm":
            if not table.costs.read(place).taken:
                table.comm(place, data.draw(names))
            table.row(place, data.draw(st.integers(0, 3)), turn, turn, turn)
            table.costs.put(place, forks=turn, vforks=turn)
        elif what == "cgroup":
            table.cgroup(place % PLACES, place + 1, b"a.service", forks=turn)
        elif what == "gone":
            table.read.give_back([place + 1])
        else:
            table.read.processes()
            table.read.cgroups()
    anew = Costs(table.maps, ROWS)
    for _ in range(2):
        assert set(table.read.cgroups()) == set(anew.cgroups())
        read, expected = (
            {each.comm: replace(each, triggers=()) for each in costs.processes()}
            for costs in (table.read, anew)
        )
        assert read == expected
    for one, other in zip(*(sorted_by_name(c) for c in (table.read, anew))):
        assert set(one.triggers) == set(other.triggers)


def sorted_by_name(costs: Costs) -> list[ProcessCost]:
    return sorted(costs.processes(), key=lambda each: each.comm)


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
