"""Whose forks cost what: the table that the kernel adds up by name and by cgroup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from forktrace.libbpf import MappedArray
from forktrace.model import OTHER, CgroupCost, ExecDiscards, ProcessCost, TriggerCost
from forktrace.text import decode_comm
from forktrace.tracer.layout import WHOSE, Cost

_Row = tuple[str, bool]
_Sums = list[int]


class Costs:
    """Reads the table; several threads may ask.

    ``rows`` are the trigger of each row of a name, and whether it had an anon_vma. A
    place is read anew only when forks were added to it: the table is large and most of
    it is quiet.
    """

    def __init__(self, maps: Mapping[str, MappedArray], rows: Sequence[_Row]) -> None:
        """Read nothing yet."""
        self._costs = maps["costs"]
        self._rows_of = maps["comm_rows"]
        self._names_of = maps["cgroup_names"]
        self._rows = rows
        self._places = self._costs.entries // len(WHOSE)
        # By place: the forks of the last two times, and what they cost by row.
        self._known: dict[int, tuple[int, int, Mapping[_Row, _Sums]]] = {}
        # By place: in which turn, and the names of its cgroup.
        self._named: dict[int, tuple[int, str, str]] = {}

    def processes(self) -> tuple[ProcessCost, ...]:
        """Return the cost of each name; all that found no place are ``other``.

        One name may have several places: they are added up, and so is a process that
        is really called ``other``.
        """
        sums: dict[str, _Sums] = {OTHER: [0] * 6}
        rows: dict[str, dict[_Row, _Sums]] = {}
        for place, cost, last in self._taken("comm"):
            comm = OTHER if last else decode_comm(bytes(cost.key))
            _add(sums.setdefault(comm, [0] * 6), _numbers(cost))
            parts = rows.setdefault(comm, {})
            for row, numbers in self._by_row(place, cost.forks).items():
                _add(parts.setdefault(row, [0] * 3), numbers)
        return tuple(
            ProcessCost(
                comm,
                *(each[0], each[1], each[2]),
                exec_discards=ExecDiscards(*each[3:]),
                triggers=tuple(
                    TriggerCost(*row, *n) for row, n in rows.get(comm, {}).items()
                ),
            )
            for comm, each in sums.items()
        )

    def _by_row(self, place: int, forks: int) -> Mapping[_Row, _Sums]:
        earlier, before, rows = self._known.get(place, (-1, -1, {}))
        # Twice: on arm64 a new number of forks may be seen before what belongs to it.
        if earlier == before == forks:
            return rows
        words = self._rows_of.words(place)
        found = {
            row: words[at : at + 3]
            for row, at in zip(self._rows, range(0, len(words), 3))
            if words[at]
        }
        self._known[place] = before, forks, found
        return found

    def cgroups(self) -> tuple[CgroupCost, ...]:
        """Return the cost of each cgroup: several where it has several places."""
        return tuple(
            CgroupCost(
                *((0, OTHER, "") if last else (cost.key[0], *self._names(place, cost))),
                *_numbers(cost)[:3],
            )
            for place, cost, last in self._taken("cgroup")
        )

    def _names(self, place: int, cost: Cost) -> tuple[str, str]:
        turn, own, parent = self._named.get(place, (-1, "", ""))
        if turn != cost.turn:
            names = self._names_of.read(place)
            own, parent = decode_comm(names.own), decode_comm(names.parent)
            self._named[place] = cost.turn, own, parent
        return own, parent

    def give_back(self, cgroups: Iterable[int]) -> None:
        """Free the places of cgroups that are gone; what they cost is forgotten."""
        gone = set(cgroups)
        for place, cost, last in self._taken("cgroup"):
            if not last and cost.key[0] in gone:
                index = WHOSE.index("cgroup") * self._places + place
                # In this order: a place that is free has to be in its next turn.
                self._costs.write_word(index, "turn", cost.turn + 1)
                self._costs.write_word(index, "taken", 0)

    def _taken(self, whose: str) -> Iterator[tuple[int, Cost, bool]]:
        """Yield place and cost of each that is taken; the shared one comes last."""
        first, last = WHOSE.index(whose) * self._places, self._places - 1
        taken = self._costs.column("taken")
        for place in range(last):
            if taken[first + place]:
                yield place, self._costs.read(first + place), False
        yield last, self._costs.read(first + last), True


def _numbers(cost: Cost) -> _Sums:
    return [
        *(cost.forks, cost.copy_ns, cost.page_table_bytes),
        *(cost.discards, cost.discarded_ns, cost.discarded_bytes),
    ]


def _add(sums: _Sums, more: Sequence[int]) -> None:
    for n, value in enumerate(more):
        sums[n] += value
