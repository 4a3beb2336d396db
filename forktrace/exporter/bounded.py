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
place changes hands at most 64 times, and no more series than that are remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import compress
from operator import add, is_not
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

    def since(self, before: Cost) -> Cost:
        """Return the growth since ``before``, none where the kernel's number fell."""
        return Cost(*(max(0, now - then) for now, then in zip(self, before)))


Item = TypeVar("Item")


def changed(now: Sequence[Item], before: Sequence[Item]) -> list[Item]:
    """Return what was not there before, as the same object: mostly next to nothing."""
    if len(now) == len(before):  # As a rule; then each is in the place it had.
        return list(compress(now, map(is_not, now, before)))
    known = set(map(id, before))
    return [each for each in now if id(each) not in known]


def _weight(cost: Cost) -> int:
    # A fork that took no measured time must still weigh something.
    return cost.copy_ns + cost.number


class Bounded(Generic[Name]):
    """Turns the costs of any number of names into at most ``most`` + 1 series.

    It keeps state from call to call, so one caller at a time; the totals it is given
    are those since the start, in which a name never falls.
    """

    def __init__(self, most: int, other: Name) -> None:
        """Start with no series; ``other`` is the name of the shared one."""
        self._most = most
        self._name_of_other = other
        self._seen: dict[Name, Cost] = {}
        # What series show, have shown, and what the shared one shows.
        self._own: dict[Name, Cost] = {}
        self._retired: dict[Name, Cost] = {}
        self._other = Cost()

    @property
    def own(self) -> Collection[Name]:
        """The names that have a series of their own."""
        return self._own.keys()

    def update(self, totals: Iterable[tuple[Name, Cost]]) -> dict[Name, Cost]:
        """Take the totals of names; return the series to show, the shared one last.

        Names that did not grow since the last time may be left out. A name may come
        several times: then it is added up.
        """
        costs: dict[Name, Cost] = {}
        for name, cost in totals:
            costs[name] = costs[name].plus(cost) if name in costs else cost
        self._fill_free_places(costs)
        arriving = self._retire_lightest(costs)
        for name, cost in costs.items():
            growth = cost.since(self._seen.get(name, Cost()))
            self._seen[name] = cost
            if name in self._own:
                self._own[name] = self._own[name].plus(growth)
            else:
                self._other = self._other.plus(growth)
        for name in arriving:
            # Up to now it was in the shared one; only what comes next is its own.
            self._own[name] = self._retired.pop(name, Cost())
        return {**self._own, self._name_of_other: self._other}

    def forget(self, name: Name) -> None:
        """Forget the totals of a name without a series: it begins anew if it comes."""
        self._seen.pop(name, None)

    def _fill_free_places(self, costs: Mapping[Name, Cost]) -> None:
        # While a place is free no name was ever in the shared one, so these start with
        # everything they cost.
        for name in self._heaviest(self._most - len(self._own), costs):
            self._own[name] = Cost()

    def _retire_lightest(self, costs: Mapping[Name, Cost]) -> list[Name]:
        """Let heavy newcomers push light names out; return who shall come in."""
        weights = {
            name: max(1, _weight(costs.get(name) or self._seen[name]))
            for name in self._own
        }
        leaving = sorted(weights, key=weights.__getitem__)
        # Those that did not grow were too light before.
        newcomers = self._heaviest(len(leaving), costs)
        arriving = []
        for newcomer, lightest in zip(newcomers, leaving):
            if _weight(costs[newcomer]) < TAKEOVER * weights[lightest]:
                break
            # What it shows stays its own; its growth since then is the others'.
            self._retired[lightest] = self._own.pop(lightest)
            arriving.append(newcomer)
        return arriving

    def _heaviest(self, count: int, costs: Mapping[Name, Cost]) -> list[Name]:
        if count <= 0:
            return []
        ours = {*self._own, self._name_of_other}
        candidates = [name for name in costs if name not in ours]
        return nlargest(count, candidates, key=lambda name: _weight(costs[name]))
