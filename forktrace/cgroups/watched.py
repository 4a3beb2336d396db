"""Which cgroups a unit has now: they come and go as it is started and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from forktrace.cgroups.paths import ROOT, unified, walk
from forktrace.log import logger

LOOK_SECONDS = 2.0
"""How often is looked, where there are few cgroups."""

# No more of the time than this part goes into looking.
_SHARE = 0.01


class WatchedUnits:
    """Keeps whoever watches told of the cgroups of some units.

    A unit is a name of systemd's, whose cgroup is called as it is, or the path of a
    cgroup; what is below belongs to it.
    """

    def __init__(
        self,
        units: Sequence[str],
        most: int,
        tell: Callable[[Sequence[int]], None],
        root: Path = ROOT,
    ) -> None:
        """Tell ``tell`` of no more than ``most``, now and whenever there are others."""
        self._units = units
        self._most = most
        self._tell = tell
        self._root = str(unified(root))
        self._told: list[int] = []
        self._again = 0.0
        self._too_many = False
        for unit in sorted(set(units) - self._look(time.monotonic())):
            logger.warning("There is no unit or cgroup %s yet.", unit)

    def tick(self, now: float) -> None:
        """Look when it is time."""
        if now >= self._again:
            self._look(now)

    def _look(self, now: float) -> set[str]:
        """Look at every cgroup; return the units that were found."""
        began = time.monotonic()
        found, numbers = set(), []
        for number, path in walk(self._root):
            of = [unit for unit in self._units if _is_of(path[len(self._root) :], unit)]
            if of:
                found.update(of)
                numbers.append(number)
        self._again = now + max(LOOK_SECONDS, (time.monotonic() - began) / _SHARE)
        if len(numbers) > self._most and not self._too_many:
            self._too_many = True
            logger.warning(
                "%d cgroups are to be watched; %d of them are.",
                len(numbers),
                self._most,
            )
        numbers = sorted(numbers)[: self._most]
        if numbers != self._told:
            self._told = numbers
            self._tell(numbers)
        return found


def _is_of(path: str, unit: str) -> bool:
    if "/" in unit:
        return f"{path}/".startswith(f"/{unit.strip('/')}/")
    return unit in path.split("/")
