"""Whose forks cost what: the table that the kernel adds up by name and by cgroup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import sizeof
from functools import reduce
from operator import add
from threading import Lock
from typing import NamedTuple

from forktrace.libbpf import MappedArray
from forktrace.model import (
    OTHER,
    CgroupCost,
    ExecDiscards,
    ProcessCost,
    TriggerCost,
    Vforks,
)
from forktrace.text import decode_comm
from forktrace.tracer.layout import WHOSE, CgroupNames, Cost

_Row = tuple[str, bool]
_Sums = list[int]
_BLOCK = 32
"""So many places are held against what they were at once."""


class _Share(NamedTuple):
    """What one place has of a name's costs, and what they are if it has all."""

    numbers: _Sums
    rows: Mapping[_Row, _Sums]
    whole: ProcessCost


class Costs:
    """Reads the table; several threads may ask.

    ``rows`` are the trigger of each row of a name, and whether it had an anon_vma. The
    table is large and most of it is quiet: only blocks of places whose bytes changed
    are looked into, and what did not change is the same object as before.
    """

    def __init__(self, maps: Mapping[str, MappedArray], rows: Sequence[_Row]) -> None:
        """Read nothing yet."""
        self._costs = maps["costs"]
        self._rows_of = maps["comm_rows"]
        self._names = maps["cgroup_names"]
        self._rows = rows
        self._places = self._costs.entries // len(WHOSE)
        # By the first place of a block: its bytes, once all in it was seen twice.
        self._blocks: dict[int, bytes] = {}
        # By place in the table: what stood there, what beside it until that was seen
        # twice.
        self._known: dict[int, tuple[bytes, bytes | None]] = {}
        self._shares: dict[str, dict[int, _Share]] = {}
        self._processes: dict[str, ProcessCost] = {}
        self._cgroups: dict[int, CgroupCost] = {}
        self._lock = Lock()

    def processes(self) -> tuple[ProcessCost, ...]:
        """Return the cost of each name; all that found no place are ``other``.

        One name may have several places: they are added up, and so is a process that
        is really called ``other``.
        """
        with self._lock:
            for place, cost, rows in self._changes("comm", self._rows_of):
                # No place of a name is ever given back.
                if cost:
                    share = self._share(cost, rows, place == self._places - 1)
                    comm = share.whole.comm
                    shares = self._shares.setdefault(comm, {})
                    shares[place] = share
                    self._processes[comm] = reduce(_sum, shares.values()).whole
            return tuple(self._processes.values())

    def _share(self, cost: Cost, rows: bytes, last: bool) -> _Share:
        words = memoryview(rows).cast("Q").tolist()
        comm = OTHER if last else decode_comm(bytes(cost.key))
        by_row = {
            row: words[at : at + 3]
            for row, at in zip(self._rows, range(0, len(words), 3))
            if words[at]
        }
        return _share(comm, _numbers(cost), by_row)

    def cgroups(self) -> tuple[CgroupCost, ...]:
        """Return the cost of each cgroup: several where it has several places."""
        with self._lock:
            for place, cost, names in self._changes("cgroup", self._names):
                if cost:
                    last = place == self._places - 1
                    self._cgroups[place] = _cgroup(cost, names, last)
                else:
                    self._cgroups.pop(place, None)
            return tuple(self._cgroups[place] for place in sorted(self._cgroups))

    def _changes(
        self, whose: str, others: MappedArray
    ) -> Iterator[tuple[int, Cost | None, bytes]]:
        """Yield each place that changed: what stands there, None if it is free now.

        ``others`` has the rest of what is known of each place, which comes third.
        """
        first = WHOSE.index(whose) * self._places
        for block in range(0, self._places, _BLOCK):
            places = range(block, min(block + _BLOCK, self._places))
            now = self._costs.raw(first + block, len(places))
            if now == self._blocks.get(first + block):
                continue
            for place, part in zip(places, _parts(now)):
                yield from self._change(first, place, part, others)
            known = (self._known.get(first + place) for place in places)
            if any(each and each[1] is not None for each in known):
                self._blocks.pop(first + block, None)
            else:
                self._blocks[first + block] = now

    def _change(
        self, first: int, place: int, now: bytes, others: MappedArray
    ) -> Iterator[tuple[int, Cost | None, bytes]]:
        before, rest = self._known.get(first + place, (b"", None))
        if now == before and rest is None:
            return
        cost = Cost.from_buffer_copy(now)
        if not cost.taken and place < self._places - 1:
            if self._known.pop(first + place, None):
                yield place, None, b""
            return
        # Twice: on arm64 a new number of forks may be seen before the rest.
        more = others.raw(place, 1)
        same = now == before and more == rest
        self._known[first + place] = now, None if same else more
        if not same:
            yield place, cost, more

    def give_back(self, cgroups: Iterable[int]) -> None:
        """Free the places of cgroups that are gone; what they cost is forgotten."""
        gone = set(cgroups)
        first = WHOSE.index("cgroup") * self._places
        taken, numbers = self._costs.column("taken"), self._costs.column("key")
        for index in range(first, first + self._places - 1):
            if taken[index] and numbers[index] in gone:
                # In this order: a place that is free has to be in its next turn.
                turn = self._costs.read(index).turn
                self._costs.write_word(index, "turn", turn + 1)
                self._costs.write_word(index, "taken", 0)


def _parts(block: bytes) -> Iterator[bytes]:
    """Yield the bytes of each place."""
    size = sizeof(Cost)
    return (block[at : at + size] for at in range(0, len(block), size))


def _cgroup(cost: Cost, names: bytes, last: bool) -> CgroupCost:
    numbers = _numbers(cost)[:3]
    if last:
        return CgroupCost(0, OTHER, "", *numbers)
    both = CgroupNames.from_buffer_copy(names)
    own, parent = decode_comm(both.own), decode_comm(both.parent)
    return CgroupCost(cost.key[0], own, parent, *numbers)


def _share(comm: str, numbers: _Sums, rows: Mapping[_Row, _Sums]) -> _Share:
    whole = ProcessCost(
        comm,
        *(numbers[0], numbers[1], numbers[2]),
        exec_discards=ExecDiscards(*numbers[3:6]),
        failed=numbers[6],
        vforks=Vforks(*numbers[7:]),
        triggers=tuple(TriggerCost(*row, *n) for row, n in rows.items()),
    )
    return _Share(numbers, rows, whole)


def _sum(one: _Share, more: _Share) -> _Share:
    rows = dict(one.rows)
    for row, numbers in more.rows.items():
        rows[row] = [*map(add, rows.get(row, (0, 0, 0)), numbers)]
    return _share(one.whole.comm, [*map(add, one.numbers, more.numbers)], rows)


def _numbers(cost: Cost) -> _Sums:
    return [
        *(cost.forks, cost.copy_ns, cost.page_table_bytes),
        *(cost.discards, cost.discarded_ns, cost.discarded_bytes),
        *(cost.failed, cost.vforks, cost.vfork_ns),
    ]
