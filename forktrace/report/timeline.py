"""When forks happened and how long they took, on a grid that grows with time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from forktrace.report.spread import lowest_at

COLUMNS = 240
ROWS_A_DECADE = 8
_FIRST_NS = 1_000_000


@dataclass(frozen=True)
class Cell:
    """How many forks began within a time and lasted so long; all are nanoseconds."""

    begin_ns: int
    low_ns: float
    high_ns: float
    forks: int


class Timeline:
    """Counts forks by time and length; no more than ``COLUMNS`` steps of time."""

    def __init__(self) -> None:
        """Begin with steps of a millisecond; each doubles when they run out."""
        self.step_ns = _FIRST_NS
        self._cells: dict[tuple[int, int], int] = {}
        self._rows: dict[int, int] = {}

    def add(self, since_ns: int, place: int) -> None:
        """Count a fork; ``since_ns`` is when, ``place`` that of its duration."""
        column = since_ns // self.step_ns
        while column >= COLUMNS:
            self._double()
            column = since_ns // self.step_ns
        row = self._rows.get(place)
        if row is None:
            row = _row_of(lowest_at(place))
            self._rows[place] = row
        cell = (column, row)
        self._cells[cell] = self._cells.get(cell, 0) + 1

    def _double(self) -> None:
        self.step_ns *= 2
        merged: dict[tuple[int, int], int] = {}
        for (column, row), count in self._cells.items():
            cell = (column // 2, row)
            merged[cell] = merged.get(cell, 0) + count
        self._cells = merged

    def cells(self) -> Iterator[Cell]:
        """Yield what is not empty, in order of time and length."""
        for (column, row), count in sorted(self._cells.items()):
            yield Cell(
                begin_ns=column * self.step_ns,
                low_ns=10 ** (row / ROWS_A_DECADE),
                high_ns=10 ** ((row + 1) / ROWS_A_DECADE),
                forks=count,
            )


def _row_of(duration_ns: int) -> int:
    return math.floor(math.log10(max(duration_ns, 1)) * ROWS_A_DECADE)
