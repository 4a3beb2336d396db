"""Bounds the series of anything that has many names: the heaviest have their own.

The rest share one. The rule:

* The first ``most`` names get a series each and all that they ever cost is in it.
* Every further name counts in the shared series, until it has cost at least twice what
  the lightest name with a series has cost. Then it takes that series' place: its own
  series starts at 0 from there on, because what it cost before was shown in the shared
  one.
* A name that lost its place counts in the shared series. If it wins a place back its
  series goes on from where it stopped.

So what was ever shown adds up to what was counted, nothing twice, and no series ever
falls. "Twice" also keeps the set of names calm: a weight is a 64-bit number, so each
place changes hands at most 64 times, and no more than that many names are remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest
from operator import add, sub
from typing import Generic, NamedTuple, TypeVar

Name = TypeVar("Name", bound=Hashable)

TAKEOVER = 2
"""How many times as heavy as the lightest a name must be to take its place."""


class Cost(NamedTuple):
    """Forks or VMAs, nanoseconds spent copying and bytes of page tables."""

    number: int = 0
    copy_ns: int = 0
    page_table_bytes: int = 0

    def plus(self, more: Cost) -> Cost:
        """Return the sum, field by field."""
        return Cost(*map(add, self, more))

    def minus(self, less: Cost) -> Cost:
        """Return the difference, field by field."""
        return Cost(*map(sub, self, less))

    def since(self, before: Cost) -> Cost:
        """Return the growth since ``before``, none where the kernel's number fell."""
        return Cost(*(max(0, growth) for growth in self.minus(before)))


def _weight(cost: Cost) -> int:
    # A fork that took no measured time must still weigh something.
    return cost.copy_ns + cost.number


@dataclass
class _Series:
    """One name's own series: what it shows, and the kernel's total at that time."""

    shown: Cost
    seen: Cost

    def advance(self, total: Cost) -> None:
        """Show the growth since the total seen last."""
        self.shown = self.shown.plus(total.since(self.seen))
        self.seen = total


class Bounded(Generic[Name]):
    """Turns the costs of any number of names into at most ``most`` + 1 series.

    It keeps state from call to call, so one caller at a time; the totals it is given
    are those since the start, in which a name never falls.
    """

    def __init__(self, most: int, other: Name) -> None:
        """Start with no series; ``other`` is the name of the shared one."""
        self._most = most
        self._name_of_other = other
        self._own: dict[Name, _Series] = {}
        self._retired: dict[Name, Cost] = {}
        self._other = _Series(Cost(), Cost())

    @property
    def own(self) -> Collection[Name]:
        """The names that have a series of their own."""
        return self._own.keys()

    def update(self, totals: Iterable[tuple[Name, Cost]]) -> dict[Name, Cost]:
        """Take the totals of all names; return the series to show, the shared one last.

        A name may come several times: then it is added up.
        """
        costs: dict[Name, Cost] = {}
        for name, cost in totals:
            costs[name] = costs[name].plus(cost) if name in costs else cost
        self._fill_free_places(costs)
        arriving = self._retire_lightest(costs)
        for name, series in self._own.items():
            if name in costs:
                series.advance(costs[name])
        self._other.advance(_sum(costs, self._own))
        for name in arriving:
            # Up to now it was in the shared one; only what comes next is its own.
            self._own[name] = _Series(self._retired.pop(name, Cost()), costs[name])
            self._other.seen = self._other.seen.minus(costs[name])
        shown = {name: own.shown for name, own in self._own.items()}
        return {**shown, self._name_of_other: self._other.shown}

    def _fill_free_places(self, costs: Mapping[Name, Cost]) -> None:
        # While a place is free no name was ever in the shared one, so these start with
        # everything they cost.
        for name in self._heaviest(self._most - len(self._own), costs):
            self._own[name] = _Series(Cost(), Cost())

    def _retire_lightest(self, costs: Mapping[Name, Cost]) -> list[Name]:
        """Let heavy newcomers push light names out; return who shall come in."""
        weights = {
            name: max(1, _weight(costs.get(name, series.seen)))
            for name, series in self._own.items()
        }
        leaving = sorted(weights, key=weights.__getitem__)
        # The others are too light for any place; they may be thousands.
        least = TAKEOVER * min(weights.values(), default=0)
        newcomers = self._heaviest(len(leaving), costs, least)
        arriving = []
        for newcomer, lightest in zip(newcomers, leaving):
            if _weight(costs[newcomer]) < TAKEOVER * weights[lightest]:
                break
            series = self._own.pop(lightest)
            self._retired[lightest] = series.shown
            if lightest in costs:
                # What it shows stays its own; its growth since then is the others'.
                self._other.seen = self._other.seen.plus(series.seen)
            arriving.append(newcomer)
        return arriving

    def _heaviest(
        self, count: int, costs: Mapping[Name, Cost], least: int = 0
    ) -> list[Name]:
        if count <= 0:
            return []
        ours = {*self._own, self._name_of_other}
        candidates = [
            name
            for name, cost in costs.items()
            if cost.copy_ns + cost.number >= least and name not in ours
        ]
        return nlargest(count, candidates, key=lambda name: _weight(costs[name]))


def _sum(costs: Mapping[Name, Cost], without: Mapping[Name, _Series]) -> Cost:
    rest = [cost for name, cost in costs.items() if name not in without]
    return Cost(*map(sum, zip(*rest)))
