"""Series by unit: bounded, named late, nothing counted twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from hypothesis import given
from hypothesis import strategies as st

from forktrace.cgroups.units import Cgroup, Unit
from forktrace.exporter.bounded import Cost
from forktrace.exporter.units import REST, BoundedUnits
from forktrace.model import CgroupCost

REDIS, WEB = Unit("redis-server.service"), Unit(container="web")


class Named:
    """Names cgroups as a test says; the rest are units of their own."""

    def __init__(self, **names: Unit) -> None:
        self.names = names
        self.removed: set[int] = set()

    def units(self, cgroups: Sequence[Cgroup]) -> list[Unit]:
        return [self.names.get(each.name, Unit(each.name)) for each in cgroups]

    def gone(self, numbers: Set[int]) -> Set[int]:
        return numbers & self.removed


def cgroup(number: int, name: str, forks: int, copy_ns: int = 0) -> CgroupCost:
    return CgroupCost(number, name, "system.slice", forks, copy_ns, 10 * copy_ns)


def test_cgroups_of_one_unit_are_added_up() -> None:
    bounded = BoundedUnits(Named(main=REDIS, worker=REDIS, web=WEB), 5)
    read = [cgroup(7, "main", 1, 10), cgroup(8, "worker", 2, 5), cgroup(9, "web", 4)]
    assert bounded.update(read) == {
        REDIS: Cost(3, 15, 150),
        WEB: Cost(4, 0, 0),
        REST: Cost(),
    }


def test_what_the_kernel_had_no_room_for_is_other() -> None:
    bounded = BoundedUnits(Named(main=REDIS), 5)
    shown = bounded.update([cgroup(7, "main", 1), cgroup(0, "", 23)])
    assert shown == {REDIS: Cost(1, 0, 0), REST: Cost(23, 0, 0)}


def test_places_of_one_cgroup_are_added_up_under_the_name_that_one_has() -> None:
    bounded = BoundedUnits(Named(main=REDIS), 5)
    for forks in (1, 2, 3):
        read = [cgroup(7, "", forks), cgroup(7, "main", 1), cgroup(7, "", 1)]
        assert bounded.update(read) == {REDIS: Cost(forks + 2, 0, 0), REST: Cost()}


def test_a_unit_called_other_counts_there() -> None:
    shown = BoundedUnits(Named(), 5).update([cgroup(7, "other", 3)])
    assert shown == {REST: Cost(3, 0, 0)}


def test_a_container_named_late_goes_on_under_its_name() -> None:
    names = Named(c=Unit(container="3f4e1b9a7c01"))
    bounded = BoundedUnits(names, 5)
    bounded.update([cgroup(7, "c", 3, 30)])
    names.names["c"] = WEB
    assert bounded.update([cgroup(7, "c", 5, 50)]) == {
        Unit(container="3f4e1b9a7c01"): Cost(3, 30, 300),
        WEB: Cost(2, 20, 200),
        REST: Cost(),
    }


def test_a_container_that_comes_again_goes_on_where_the_last_one_stopped() -> None:
    bounded = BoundedUnits(Named(c=WEB), 5)
    bounded.update([cgroup(7, "c", 3)])
    assert bounded.update([cgroup(8, "c", 2)])[WEB] == Cost(5, 0, 0)


def test_cgroups_that_are_gone_are_forgotten_once_all_they_cost_is_counted() -> None:
    names = Named()
    bounded = BoundedUnits(names, 5)
    forks = dict.fromkeys(range(1, 1100), 1)

    def scrape() -> Set[int]:
        read = [cgroup(n, "many", count) for n, count in forks.items()]
        assert sum(cost.number for cost in bounded.update(read).values()) == counted
        return bounded.forgettable()

    counted = 1099
    assert scrape() == set()
    names.removed = {7, 8}
    # The last that 7 did, after the read that did not find it gone yet.
    forks |= {7: 3, **dict.fromkeys(range(1100, 1200), 1)}
    counted += 2 + 100
    assert scrape() == set()
    assert scrape() == set(), "not before there are more"
    forks |= dict.fromkeys(range(1200, 1300), 1)
    counted += 100
    assert scrape() == {7, 8}
    del forks[7], forks[8]
    assert scrape() == set()


def test_units_that_are_gone_take_no_memory_and_their_costs_stay_counted() -> None:
    names, units, at_once = Named(), 5000, 100
    bounded = BoundedUnits(names, 5)
    known, last = dict[int, CgroupCost](), dict[Unit, Cost]()
    for first in range(1, units, at_once):
        known |= {n: cgroup(n, f"u{n}", 1, n) for n in range(first, first + at_once)}
        last |= bounded.update(list(known.values()))
        assert sum(cost.number for cost in last.values()) == first + at_once - 1
        for number in bounded.forgettable():
            del known[number]
        names.removed |= set(range(first, first + at_once))
    assert len(bounded._costs) < len(known) + 10 < 2000


def test_a_few_are_not_looked_for() -> None:
    names = Named()
    names.removed = {7}
    bounded = BoundedUnits(names, 5)
    for _ in range(3):
        bounded.update([cgroup(7, "a", 1)])
        assert bounded.forgettable() == set()


@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 9), st.tuples(st.integers(0, 9), st.sampled_from("abcdef"))
        ),
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_whatever_names_cgroups_get_no_series_falls_and_all_is_counted_once(
    scrapes: list[dict[int, tuple[int, str]]], max_units: int
) -> None:
    names, forks = Named(), Counter[int]()
    bounded = BoundedUnits(names, max_units)
    last: dict[Unit, Cost] = {}
    for scrape in scrapes:
        for number, (growth, name) in scrape.items():
            forks[number] += growth
            names.names[f"cgroup{number}"] = Unit(name)
        shown = bounded.update([cgroup(n, f"cgroup{n}", forks[n]) for n in forks])
        assert len(shown) <= max_units + 1
        assert all(
            cost.number >= last.get(unit, Cost()).number for unit, cost in shown.items()
        )
        last.update(shown)
        assert sum(cost.number for cost in last.values()) == sum(forks.values())
