"""Whose forks cost what: the table that the kernel adds up by name and by cgroup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import add
from typing import Any, NamedTuple, TypeVar

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
_Made = TypeVar("_Made")


class _Share(NamedTuple):
    """What one place has of a name's costs, and what they are if it has all."""

    numbers: _Sums
    rows: Mapping[_Row, _Sums]
    whole: ProcessCost


class Costs:
    """Reads the table; several threads may ask.

    ``rows`` are the trigger of each row of a name, and whether it had an anon_vma. What
    a place means is made out anew only when its numbers changed: the table is large and
    most of it is quiet. What did not change is the same object as before.
    """

    def __init__(self, maps: Mapping[str, MappedArray], rows: Sequence[_Row]) -> None:
        """Read nothing yet."""
        self._costs = maps["costs"]
        self._rows_of = maps["comm_rows"]
        self._names = maps["cgroup_names"]
        self._rows = rows
        self._places = self._costs.entries // len(WHOSE)
        # By place in the table: what stood there, what beside it until that was seen
        # twice, and what was made of both.
        self._known: dict[int, tuple[bytes, bytes | None, Any]] = {}

    def processes(self) -> tuple[ProcessCost, ...]:
        """Return the cost of each name; all that found no place are ``other``.

        One name may have several places: they are added up, and so is a process that
        is really called ``other``.
        """
        shares: dict[str, _Share] = {}
        for share in self._made("comm", self._rows_of, self._share):
            comm = share.whole.comm
            shares[comm] = _sum(shares[comm], share) if comm in shares else share
        return tuple(share.whole for share in shares.values())

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
        return tuple(self._made("cgroup", self._names, _cgroup))

    def _made(
        self,
        whose: str,
        others: MappedArray,
        make: Callable[[Cost, bytes, bool], _Made],
    ) -> Iterator[_Made]:
        """Yield what is made of each place that is taken; the shared one comes last.

        ``others`` has the rest of what is known of each place.
        """
        first, last = WHOSE.index(whose) * self._places, self._places - 1
        taken = self._costs.column("taken")
        for place, now in enumerate(self._costs.raw(first, self._places)):
            if place < last and not taken[first + place]:
                continue
            before, rest, made = self._known.get(first + place, (b"", b"", None))
            if now != before or rest is not None:
                # Twice: on arm64 a new number of forks may be seen before the rest.
                (more,) = others.raw(place, 1)
                same = now == before and more == rest
                if not same:
                    made = make(Cost.from_buffer_copy(now), more, place == last)
                self._known[first + place] = now, None if same else more, made
            yield made

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
