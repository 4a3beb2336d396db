"""Per-name series: bounded, never falling, nothing counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forktrace.exporter.bounded import Bounded, Cost
from forktrace.model import OTHER

Numbers = tuple[int, int, int]

growths = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "e", "f", OTHER]),
        st.tuples(st.integers(0, 9), st.integers(0, 10**6), st.integers(0, 10**6)),
    ),
    max_size=30,
)
"""Scrape by scrape, what each name's totals grow by."""


def add(left: Numbers, right: Numbers) -> Numbers:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def show(bounded: Bounded[str], totals: dict[str, Numbers]) -> dict[str, Numbers]:
    shown = bounded.update((name, Cost(*cost)) for name, cost in totals.items())
    return {name: tuple(cost) for name, cost in shown.items()}  # type: ignore[misc]


@given(growths, st.integers(0, 4))
def test_what_was_ever_shown_adds_up_to_what_was_counted(
    steps: list[dict[str, Numbers]], max_comms: int
) -> None:
    bounded, totals = Bounded(max_comms, OTHER), dict[str, Numbers]()
    last_shown: dict[str, Numbers] = {}
    for step in steps:
        for name, growth in step.items():
            totals[name] = add(totals.get(name, (0, 0, 0)), growth)
        shown = show(bounded, totals)
        assert len(shown) <= max_comms + 1
        for name, numbers in shown.items():
            before = last_shown.get(name, (0, 0, 0))
            assert all(now >= then for now, then in zip(numbers, before)), name
        last_shown.update(shown)
        counted = shown_in_all = (0, 0, 0)
        for cost in totals.values():
            counted = add(counted, cost)
        for cost in last_shown.values():
            shown_in_all = add(shown_in_all, cost)
        assert shown_in_all == counted


@given(growths, st.integers(0, 4))
def test_names_that_did_not_grow_may_be_left_out(
    steps: list[dict[str, Numbers]], most: int
) -> None:
    told_all, told_some = Bounded(most, OTHER), Bounded(most, OTHER)
    totals = dict[str, Numbers]()
    for step in steps:
        for name, growth in step.items():
            totals[name] = add(totals.get(name, (0, 0, 0)), growth)
        some = {name: totals[name] for name in totals if name in step}
        assert show(told_all, totals) == show(told_some, some)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcdef"),
            st.tuples(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99)),
        ),
        max_size=20,
    )
)
def test_no_series_falls_even_if_the_kernel_forgets_names(
    readings: list[dict[str, Numbers]],
) -> None:
    bounded, last_shown = Bounded(2, OTHER), dict[str, Numbers]()
    for reading in readings:
        shown = show(bounded, reading)
        for name, numbers in shown.items():
            before = last_shown.get(name, (0, 0, 0))
            assert all(now >= then for now, then in zip(numbers, before)), name
        last_shown.update(shown)


def test_while_there_is_room_every_name_shows_all_it_cost() -> None:
    bounded = Bounded(2, OTHER)
    show(bounded, {"redis": (1, 10, 100)})
    shown = show(bounded, {"redis": (2, 20, 200), "bash": (3, 30, 300)})
    assert shown == {"redis": (2, 20, 200), "bash": (3, 30, 300), OTHER: (0, 0, 0)}


def test_the_heaviest_names_are_those_kept() -> None:
    crowd = {f"name{n}": (1, n, n) for n in range(1000)}
    shown = show(Bounded(3, OTHER), crowd)
    assert set(shown) == {"name997", "name998", "name999", OTHER}


def test_a_name_twice_as_heavy_takes_the_place_and_gives_it_back() -> None:
    bounded = Bounded(1, OTHER)
    assert show(bounded, {"old": (1, 100, 0)})["old"] == (1, 100, 0)

    almost = show(bounded, {"old": (1, 100, 0), "new": (1, 199, 0)})
    assert almost == {"old": (1, 100, 0), OTHER: (1, 199, 0)}

    taken = show(bounded, {"old": (1, 100, 0), "new": (2, 200, 0)})
    assert taken == {"new": (0, 0, 0), OTHER: (2, 200, 0)}

    returned = show(bounded, {"old": (4, 500, 0), "new": (2, 200, 0)})
    assert returned == {"old": (1, 100, 0), OTHER: (5, 600, 0)}

    grown = show(bounded, {"old": (5, 510, 0), "new": (2, 200, 0)})
    assert grown["old"] == (2, 110, 0), "it goes on from where it stopped"


def test_a_process_that_is_named_other_counts_in_other() -> None:
    assert show(Bounded(5, OTHER), {OTHER: (1, 2, 3)}) == {OTHER: (1, 2, 3)}


def test_a_name_that_comes_twice_is_added_up() -> None:
    twins = [("sh", Cost(1, 0, 0)), ("sh", Cost(2, 0, 0))]
    assert Bounded(5, OTHER).update(twins) == {"sh": Cost(3), OTHER: Cost()}


def test_places_change_hands_a_bounded_number_of_times() -> None:
    bounded = Bounded(1, OTHER)
    names, seen = {}, set()
    for n in range(2000):
        names[f"name{n}"] = (1, n * n, 0)
        seen |= set(show(bounded, names)) if n % 10 == 0 else set()
    assert len(seen) <= 64 + 1
