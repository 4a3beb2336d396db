"""Durations in little memory: quantiles are close, sums and the highest exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forktrace.report.spread import (
    FINE_EDGES,
    TEXT_EDGES,
    Spread,
    highest_at,
    lowest_at,
    place_of,
)

values = st.integers(0, 2**64 - 1) | st.integers(0, 10**9)


def spread_of(drawn: list[int]) -> Spread:
    spread = Spread()
    for value in drawn:
        spread.add(value, place_of(value))
    return spread


@given(values)
def test_a_place_holds_what_differs_by_less_than_a_64th(value: int) -> None:
    low, high = lowest_at(place_of(value)), highest_at(place_of(value))
    assert low <= value <= high
    assert high - low <= value // 64
    assert place_of(high + 1) > place_of(high)


@given(values, values)
def test_places_are_in_order(one: int, other: int) -> None:
    assert (place_of(one) < place_of(other)) <= (one < other)


@given(st.lists(values, min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_at_most_a_64th_too_high(drawn: list[int], share: float) -> None:
    exact = next(
        value
        for position, value in enumerate(sorted(drawn), 1)
        if position >= share * len(drawn)
    )
    told = spread_of(drawn).quantile(share)
    assert exact <= told <= min(exact + exact // 64, max(drawn))


@given(st.lists(values, max_size=200))
def test_sum_count_and_highest_are_exact(drawn: list[int]) -> None:
    spread = spread_of(drawn)
    assert (spread.sum, spread.count) == (sum(drawn), len(drawn))
    assert spread.highest == max(drawn, default=0)
    assert spread.quantile(1) == spread.highest


@given(st.lists(values, max_size=200), st.sampled_from([TEXT_EDGES, FINE_EDGES]))
def test_bins_hold_everything_and_their_ends_are_not_empty(
    drawn: list[int], edges: tuple[int, ...]
) -> None:
    bins = spread_of(drawn).bins(edges)
    assert sum(each.count for each in bins) == len(drawn)
    if drawn:
        assert bins[0].count
        assert bins[-1].count


def test_each_bin_holds_its_own() -> None:
    bins = spread_of([1_500_000, 3_000_000, 3_100_000, 40_000_000]).bins(TEXT_EDGES)
    told = [(each.low, each.high, each.count) for each in bins]
    ms = 1_000_000
    assert told == [
        (1 * ms, 2 * ms, 1),
        (2 * ms, 5 * ms, 2),
        (5 * ms, 10 * ms, 0),
        (10 * ms, 20 * ms, 0),
        (20 * ms, 50 * ms, 1),
    ]
