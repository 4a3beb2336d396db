"""Adds up what copy-on-write cost after forks, by process and by mapping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forktrace.cow import Cow, CowCost, CowMapping
from forktrace.report.names import ANONYMOUS, NOT_KNOWN, OTHER

_MOST_NAMES = 5_000


@dataclass
class CowGroup:
    """What became of the children of the processes of one name.

    ``parents`` counts a fault of the parent once for each child that lived then.
    ``parents_unknown`` children outlived their parent.
    """

    comm: str
    children: int = 0
    parents: CowCost = field(default_factory=CowCost)
    child: CowCost = field(default_factory=CowCost)
    parents_unknown: int = 0
    teardown_ns: int = 0
    longest_teardown_ns: int = 0

    def add(self, cow: Cow) -> None:
        """Add one child."""
        self.children += 1
        self.child = self.child.plus(cow.child)
        self.teardown_ns += cow.teardown_ns
        self.longest_teardown_ns = max(self.longest_teardown_ns, cow.teardown_ns)
        if cow.parents:
            self.parents = self.parents.plus(cow.parents)
        else:
            self.parents_unknown += 1

    @property
    def fault_ns(self) -> int:
        """Both sides' faults, splits included."""
        return self.parents.fault_ns + self.child.fault_ns

    def to_json(self) -> dict[str, Any]:
        """Return the published object."""
        return {
            "comm": self.comm,
            "children": self.children,
            "parents": self.parents.to_json(),
            "child": self.child.to_json(),
            "parents_unknown": self.parents_unknown,
            "teardown_ns": self.teardown_ns,
            "longest_teardown_ns": self.longest_teardown_ns,
        }


@dataclass
class CowShare:
    """What both sides copied of one mapping of the processes of one name."""

    comm: str
    mapping: str
    parents_bytes: int = 0
    parents_ns: int = 0
    child_bytes: int = 0
    child_ns: int = 0

    def add(self, one: CowMapping) -> None:
        """Add what one child's end told."""
        self.parents_bytes += one.parents_bytes
        self.parents_ns += one.parents_ns
        self.child_bytes += one.child_bytes
        self.child_ns += one.child_ns

    def to_json(self) -> dict[str, Any]:
        """Return the published object."""
        return dict(vars(self))


class CowSums:
    """The groups by name; memory is bounded."""

    def __init__(self) -> None:
        """Start without any."""
        self._groups: dict[str, CowGroup] = {}
        self._shares: dict[tuple[str, str], CowShare] = {}

    def add(self, cow: Cow) -> None:
        """Add one child."""
        comm = cow.comm
        if comm not in self._groups and len(self._groups) >= _MOST_NAMES:
            comm = OTHER
        self._groups.setdefault(comm, CowGroup(comm)).add(cow)
        for one in cow.mappings:
            name = NOT_KNOWN if one.name is None else one.name or ANONYMOUS
            self._share(comm, name).add(one)
        if cow.others:
            self._share(comm, OTHER).add(cow.others)

    def _share(self, comm: str, mapping: str) -> CowShare:
        key = comm, mapping
        if key not in self._shares and len(self._shares) >= _MOST_NAMES:
            key = OTHER, OTHER
        return self._shares.setdefault(key, CowShare(*key))

    def ranked(self) -> tuple[CowGroup, ...]:
        """Return them, those that copied longest first."""
        groups = self._groups.values()
        return tuple(sorted(groups, key=lambda each: (-each.fault_ns, each.comm)))

    def mappings(self) -> tuple[CowShare, ...]:
        """Return what was copied by mapping, those that took longest first."""

        def rank(each: CowShare) -> tuple[int, str, str]:
            return -each.parents_ns - each.child_ns, each.comm, each.mapping

        return tuple(sorted(self._shares.values(), key=rank))
