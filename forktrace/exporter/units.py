"""The series by unit, pod and container: those of any number of cgroups, bounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from typing import Protocol

from forktrace.cgroups.units import Cgroup, Unit
from forktrace.exporter.bounded import Bounded, Cost, changed
from forktrace.model import OTHER, CgroupCost

REST = Unit(OTHER)
"""What all the rest share."""


# Half of what the kernel side has room for, and so many more before looking again.
_MANY, _MORE = 1024, 64


class Names(Protocol):
    """What tells which unit a cgroup is part of."""

    def units(self, cgroups: Sequence[Cgroup]) -> Sequence[Unit]:
        """Return it for each; it may be another one later."""

    def gone(self, numbers: Set[int]) -> Set[int]:
        """Return which of these cgroups are known not to exist any more."""


class BoundedUnits:
    """Turns the costs of all cgroups into those of at most ``max_units`` + 1 units.

    Each cgroup's growth counts for what it is part of at that time: so a container
    whose name becomes known late leaves behind what was counted under its number, and
    what the kernel forgets stays counted. One caller at a time.
    """

    def __init__(self, names: Names, max_units: int) -> None:
        """Start with no series."""
        self._names = names
        self._bounded = Bounded(max_units, REST)
        self._before: Sequence[CgroupCost] = ()
        self._seen: dict[int, Cost] = {}
        self._part_of: dict[int, Unit] = {}
        self._costs: dict[Unit, Cost] = defaultdict(Cost)
        self._gone: Set[int] = frozenset()
        self._enough = _MANY

    def update(self, cgroups: Sequence[CgroupCost]) -> dict[Unit, Cost]:
        """Take the totals of all cgroups; return the series to show, the rest last."""
        costs: dict[int, Cost] = {}
        known: dict[int, CgroupCost] = {}
        numbers = {each.cgroup for each in changed(cgroups, self._before)}
        self._before = cgroups
        for each in [each for each in cgroups if each.cgroup in numbers]:
            number = each.cgroup
            cost = Cost(each.forks, each.copy_ns, each.page_table_bytes)
            # One may have several places in the kernel's table, not all with its name.
            costs[number] = costs[number].plus(cost) if number in costs else cost
            if each.name or number not in known:
                known[number] = each
        grown = [n for n, cost in costs.items() if self._seen.get(n) != cost]
        units: set[Unit] = set()
        for n, unit in zip(grown, self._units([known[n] for n in grown])):
            growth = costs[n].since(self._seen.get(n, Cost()))
            self._seen[n], self._part_of[n] = costs[n], unit
            self._costs[unit] = self._costs[unit].plus(growth)
            units.add(unit)
        return self._bounded.update((unit, self._costs[unit]) for unit in units)

    def forgettable(self) -> Set[int]:
        """Return the cgroups that the kernel side need not know any more.

        They are gone, and were so before the last update, which so has all they cost.
        Looking for them takes some milliseconds: only where there are many new ones.
        """
        if len(self._seen) < self._enough:
            return frozenset()
        gone = self._names.gone(self._seen.keys())
        ready, self._gone = self._gone & gone, gone
        for number in ready:
            del self._seen[number], self._part_of[number]
        self._forget_units()
        self._enough = max(_MANY, len(self._seen) + _MORE)
        return ready

    def _forget_units(self) -> None:
        """Forget those of which no cgroup is left and no series; the rest has them."""
        kept = {REST, *self._part_of.values(), *self._bounded.own}
        for unit in self._costs.keys() - kept:
            del self._costs[unit]
            self._bounded.forget(unit)

    def _units(self, cgroups: Sequence[CgroupCost]) -> Sequence[Unit]:
        """Return what each is part of."""
        named = [Cgroup(c.cgroup, c.name, c.parent) for c in cgroups if c.cgroup]
        units = iter(self._names.units(named))
        return [next(units) if each.cgroup else REST for each in cgroups]
