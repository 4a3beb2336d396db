"""Plain data: what copy-on-write cost after a fork, until the child exits or execs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import add
from typing import Any

from forktrace.fields import number_of, text_of


@dataclass(frozen=True)
class CowCost:
    """Write faults of one process that copied a page, and huge pages that they split.

    ``faults`` copied ``copied_bytes``, in ``copy_ns``: the whole time of these faults.
    A huge page is split first, in ``split_ns``, and then copied page by page.
    """

    faults: int = 0
    copied_bytes: int = 0
    copy_ns: int = 0
    splits: int = 0
    split_ns: int = 0

    @property
    def fault_ns(self) -> int:
        """The time of all these faults."""
        return self.copy_ns + self.split_ns

    def plus(self, more: CowCost) -> CowCost:
        """Return the sum."""
        return CowCost(*map(add, vars(self).values(), vars(more).values()))

    def to_json(self) -> dict[str, int]:
        """Return it as a part of ``Cow``."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CowCost:
        """Return what ``to_json`` made this of."""
        return cls(*(number_of(record, each.name) for each in fields(cls)))


@dataclass(frozen=True)
class CowMapping:
    """What both sides copied of one mapping of the parent, by its first address.

    The times are those of the faults, splitting huge pages included. ``name`` is empty
    for anonymous memory, None where the parent could not be asked any more.
    """

    start: int
    name: str | None
    parents_bytes: int
    parents_ns: int
    child_bytes: int
    child_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a part of ``Cow``."""
        return {**vars(self), "start": f"{self.start:#x}"}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CowMapping:
        """Return what ``to_json`` made this of."""
        known = record["name"] is not None
        return cls(
            int(text_of(record, "start"), 16),
            text_of(record, "name") if known else None,
            *(number_of(record, each.name) for each in fields(cls)[2:]),
        )


@dataclass(frozen=True)
class Cow:
    """A child that lived on after a fork, once it has ended by exit or exec.

    ``parents`` is what its parent's writes cost from the fork to then, ``child`` its
    own. Children that live at the same time share the parent's: each counts it whole.
    It is None where the parent ended first. ``teardown_ns`` is how long freeing the
    child's memory took (exit_mmap()). ``mappings`` are the most expensive ones of both
    sides, as far as they were told apart; what the sums have besides was in others.
    """

    pid: int
    parent: int
    comm: str
    lived_ns: int
    execs: bool
    parents: CowCost | None
    child: CowCost
    teardown_ns: int
    mappings: tuple[CowMapping, ...] = ()

    @property
    def others(self) -> CowMapping | None:
        """What both sides copied of mappings that were not told apart."""
        parents = self.parents or CowCost()
        named = self.mappings
        rest = CowMapping(
            start=0,
            name=None,
            parents_bytes=parents.copied_bytes - sum(m.parents_bytes for m in named),
            parents_ns=parents.fault_ns - sum(m.parents_ns for m in named),
            child_bytes=self.child.copied_bytes - sum(m.child_bytes for m in named),
            child_ns=self.child.fault_ns - sum(m.child_ns for m in named),
        )
        return rest if rest.parents_bytes + rest.child_bytes > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return its keys in a line of ``trace --json``, and of a recording."""
        return {
            "type": "cow",
            "pid": self.pid,
            "parent": self.parent,
            "comm": self.comm,
            "lived_ns": self.lived_ns,
            "execs": self.execs,
            "parents": self.parents.to_json() if self.parents else None,
            "child": self.child.to_json(),
            "teardown_ns": self.teardown_ns,
            "mappings": [each.to_json() for each in self.mappings],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Cow:
        """Return what ``to_json`` made this of."""
        parents = record["parents"]
        return cls(
            pid=number_of(record, "pid"),
            parent=number_of(record, "parent"),
            comm=text_of(record, "comm"),
            lived_ns=number_of(record, "lived_ns"),
            execs=bool(record["execs"]),
            parents=None if parents is None else CowCost.from_json(parents),
            child=CowCost.from_json(record["child"]),
            teardown_ns=number_of(record, "teardown_ns"),
            mappings=tuple(map(CowMapping.from_json, record["mappings"])),
        )


@dataclass(frozen=True)
class CowTotals:
    """Sums since the start: of parents, of children, and of children that ended.

    ``lost`` is keyed by stage.
    """

    parents: CowCost
    children: CowCost
    ended: int
    teardown_ns: int
    lost: Mapping[str, int]
