"""Bounds the series per process name: the heaviest have their own, the rest share one.

The rule:

* The first ``max_comms`` names get a series each and all that they ever cost is in it.
* Every further name counts in ``other``, until it has cost at least twice what the
  lightest name with a series has cost. Then it takes that series' place: its own
  series starts at 0 from there on, because what it cost before was shown in ``other``.
* A name that lost its place counts in ``other``. If it wins a place back its series
  goes on from where it stopped.

So what was ever shown adds up to what was counted, nothing twice, and no series ever
falls. "Twice" also keeps the set of names calm: a weight is a 64-bit number, so each
place changes hands at most 64 times, and no more than that many names are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from operator import add, sub
from typing import NamedTuple

from forktrace.model import ProcessCost
from forktrace.text import encodable

OTHER = "other"
"""The name all the rest share. A process of that name counts there as well."""

TAKEOVER = 2
"""How many times as heavy as the lightest a name must be to take its place."""


class _Cost(NamedTuple):
    """Forks, nanoseconds spent copying and bytes of page tables."""

    forks: int = 0
    copy_ns: int = 0
    page_table_bytes: int = 0

    def plus(self, more: _Cost) -> _Cost:
        """Return the sum, field by field."""
        return _Cost(*map(add, self, more))

    def minus(self, less: _Cost) -> _Cost:
        """Return the difference, field by field."""
        return _Cost(*map(sub, self, less))

    def since(self, before: _Cost) -> _Cost:
        """Return the growth since ``before``, none where the kernel's number fell."""
        return _Cost(*(max(0, growth) for growth in self.minus(before)))


def _weight(cost: _Cost) -> int:
    # A fork that took no measured time must still weigh something.
    return cost.copy_ns + cost.forks


@dataclass
class _Series:
    """One name's own series: what it shows, and the kernel's total at that time."""

    shown: _Cost
    seen: _Cost

    def advance(self, total: _Cost) -> None:
        """Show the growth since the total seen last."""
        self.shown = self.shown.plus(total.since(self.seen))
        self.seen = total


class BoundedProcesses:
    """Turns the costs of any number of names into at most ``max_comms`` + 1 series.

    It keeps state from call to call, so one caller at a time; the totals it is given
    are those of ``Totals.processes``, in which a name never falls.
    """

    def __init__(self, max_comms: int) -> None:
        """Start with no series."""
        self._max_comms = max_comms
        self._own: dict[str, _Series] = {}
        self._retired: dict[str, _Cost] = {}
        self._other = _Series(_Cost(), _Cost())

    def update(self, processes: Iterable[ProcessCost]) -> list[ProcessCost]:
        """Take the totals of all names; return the series to show, ``other`` last."""
        costs = _by_name(processes)
        self._fill_free_places(costs)
        arriving = self._retire_lightest(costs)
        for name, series in self._own.items():
            if name in costs:
                series.advance(costs[name])
        self._other.advance(_sum(costs, self._own))
        for name in arriving:
            # Up to now it was shown in `other`; only what comes next is its own.
            self._own[name] = _Series(self._retired.pop(name, _Cost()), costs[name])
            self._other.seen = self._other.seen.minus(costs[name])
        shown = [ProcessCost(name, *own.shown) for name, own in self._own.items()]
        return [*shown, ProcessCost(OTHER, *self._other.shown)]

    def _fill_free_places(self, costs: dict[str, _Cost]) -> None:
        # While a place is free no name was ever shown in `other`, so these start with
        # everything they cost.
        free = self._max_comms - len(self._own)
        for name in _heaviest(free, costs, self._own):
            self._own[name] = _Series(_Cost(), _Cost())

    def _retire_lightest(self, costs: dict[str, _Cost]) -> list[str]:
        """Let heavy newcomers push light names out; return who shall come in."""
        weights = {
            name: max(1, _weight(costs.get(name, series.seen)))
            for name, series in self._own.items()
        }
        leaving = sorted(weights, key=weights.__getitem__)
        newcomers = _heaviest(len(leaving), costs, self._own)
        arriving = []
        for newcomer, lightest in zip(newcomers, leaving):
            if _weight(costs[newcomer]) < TAKEOVER * weights[lightest]:
                break
            series = self._own.pop(lightest)
            self._retired[lightest] = series.shown
            if lightest in costs:
                # What it shows stays its own; its growth since then is `other`'s.
                self._other.seen = self._other.seen.plus(series.seen)
            arriving.append(newcomer)
        return arriving


def _by_name(processes: Iterable[ProcessCost]) -> dict[str, _Cost]:
    costs: dict[str, _Cost] = {}
    for process in processes:
        name = encodable(process.comm)
        cost = _Cost(process.forks, process.copy_ns, process.page_table_bytes)
        costs[name] = costs[name].plus(cost) if name in costs else cost
    return costs


def _heaviest(
    count: int, costs: dict[str, _Cost], own: dict[str, _Series]
) -> list[str]:
    if count <= 0:
        return []
    candidates = (name for name in costs if name not in own and name != OTHER)
    return nlargest(count, candidates, key=lambda name: _weight(costs[name]))


def _sum(costs: dict[str, _Cost], without: dict[str, _Series]) -> _Cost:
    rest = [cost for name, cost in costs.items() if name not in without]
    return _Cost(*map(sum, zip(*rest)))
