"""The unit, or the pod and container, that a cgroup is part of, as people call them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from forktrace.cgroups.containers import Kubelet, Names, is_cruns, runtimes_names
from forktrace.cgroups.paths import CgroupPaths
from forktrace.cgroups.place import Place, place_of
from forktrace.model import CGROUP_NAME
from forktrace.text import encodable

SHORT = 12
"""So many digits of a container's number runtimes show."""

# What is not known yet is tried again: after so many seconds, then ever more rarely.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 600.0

# Each time somebody asks, no more goes into looking; what is left over must wait.
_LOOK_SECONDS = 0.003


class Cgroup(NamedTuple):
    """One as the kernel knows it; the root, and what is above it, have no name."""

    number: int
    name: str
    parent: str


class Unit(NamedTuple):
    """What a cgroup is part of; empty is what does not apply, or nobody knows."""

    unit: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""


@dataclass
class _Known:
    """What a cgroup was named, and when it shall be tried again."""

    unit: Unit
    again: float = 0.0
    pause: float = _FIRST_PAUSE


class UnitNames:
    """Names cgroups, and remembers: metrics ask about all of them each time.

    Where the host's cgroups are to be seen, a cgroup's whole path tells; else its own
    name and that of the one above. What has no name yet when it is first asked about,
    like a container that just starts, can get one later.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Look below ``root``; nothing is looked for yet."""
        self._root = root
        self._paths = CgroupPaths(root / "sys/fs/cgroup")
        self._known: dict[int, _Known] = {}
        self._kubelet = Kubelet(root)
        self._kubelet_again = 0.0

    def units(self, cgroups: Iterable[Cgroup]) -> list[Unit]:
        """Return what each is part of."""
        found, until = [], math.inf
        for cgroup in cgroups:
            known = self._known.get(cgroup.number) or self._meet(cgroup)
            now = time.monotonic()
            if known.again <= now < until:
                known.unit, is_certain = self._look(cgroup)
                known.again = math.inf if is_certain else now + known.pause
                known.pause = min(2 * known.pause, _LONGEST_PAUSE)
                until = min(until, now + _LOOK_SECONDS)
            found.append(known.unit)
        return found

    def gone(self, numbers: Set[int]) -> Set[int]:
        """Return which of these are known not to exist any more, and forget them."""
        gone = self._paths.gone(numbers)
        for number in gone:
            self._known.pop(number, None)
        return gone

    def _meet(self, cgroup: Cgroup) -> _Known:
        """Name a new one without a look at any file: that may have to wait."""
        place = place_of(f"{cgroup.parent}/{cgroup.name}")
        known = _Known(_unit(place.unit, self._untold(place)))
        self._known[cgroup.number] = known
        return known

    def _look(self, cgroup: Cgroup) -> tuple[Unit, bool]:
        """Return what it is part of, and whether that will stay so."""
        path, is_whole = self._path(cgroup)
        place = place_of(path)
        if place.is_bare:
            if is_cruns(cgroup.name, self._root):
                return _unit("", Names(container=cgroup.name)), True
            return _unit(place.unit, Names()), False
        names = self._told(place)
        return _unit(place.unit, names or self._untold(place)), is_whole and bool(names)

    def _path(self, cgroup: Cgroup) -> tuple[str, bool]:
        """Return what is known of its path, and whether that is all of it.

        In a container of its own forktrace may see only the cgroups below its own.
        """
        path = self._paths.path(cgroup.number)
        *_, above, own = ["", *path.split("/")]
        if _begins(own, cgroup.name) and _begins(above, cgroup.parent):
            return path, True
        return f"{cgroup.parent}/{cgroup.name}", False

    def _told(self, place: Place) -> Names | None:
        """Return what people call its container and pod, None while nobody tells."""
        if not place.pod_uid and not place.is_numbered:
            return self._untold(place)
        now = time.monotonic()
        if self._kubelet_again <= now:
            self._kubelet = Kubelet(self._root)
            self._kubelet_again = now + _FIRST_PAUSE
        if not place.container:
            return self._kubelet.pod(place.pod_uid)
        found = self._kubelet.container(place.container)
        return found or runtimes_names(place.container, self._root)

    def _untold(self, place: Place) -> Names:
        """Return what is left without anybody's files."""
        pod = self._kubelet.pod(place.pod_uid) or Names(pod=place.pod_uid)
        short = place.container[:SHORT] if place.is_numbered else place.container
        return replace(pod, container=short)


def _begins(name: str, told: str) -> bool:
    """Tell whether this is the name that the kernel side told, and may have cut."""
    if len(told) < CGROUP_NAME - 1:
        return name == told
    return name.startswith(told)


def _unit(unit: str, names: Names) -> Unit:
    told = (unit, names.namespace, names.pod, names.container)
    return Unit(*map(encodable, told))
