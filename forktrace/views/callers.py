"""Who called fork, as a tree in text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from forktrace.report.callers import Caller
from forktrace.report.study import Study
from forktrace.text import named, printable
from forktrace.views.lines import missing_stacks
from forktrace.views.units import duration, size

_LINES = 40
_LEAST_SHARE = 100
"""What took less than this part of all the time is not shown."""


def tree(study: Study, width: int) -> list[str]:
    """Return the tree, the most expensive first; nothing where no stack is known."""
    if not study.callers:
        return []
    whole = sum(each.duration_ns for each in study.callers)
    rows = list(_rows(study.callers, whole // _LEAST_SHARE, 0))
    said = [
        "",
        f"{'TIME':>10}  {'FORKS':>7}  {'TABLES':>8}  CALLERS",
        *(line for row in rows[:_LINES] for line in _lines(*row, width)),
    ]
    if len(rows) > _LINES:
        said.append(f"{len(rows) - _LINES:,} more are in --json and --html.")
    return said + missing_stacks(study.without_stack, study.cut_stacks)


def _rows(
    callers: Sequence[Caller], least_ns: int, depth: int
) -> Iterator[tuple[Caller, str, int]]:
    """Yield each branch: the functions up to where it divides are one row."""
    for caller in callers:
        if caller.duration_ns < least_ns:
            continue
        *above, last = caller.chain()
        names = " > ".join(_without_repeats(map(caller_name, (*above, last))))
        yield caller, names, depth
        yield from _rows(last.ranked(), least_ns, depth + 1)


def _without_repeats(names: Iterable[str]) -> Iterator[str]:
    """Yield each name, once where it follows itself, with how often."""
    for name, same in groupby(names):
        times = len(list(same))
        yield name if times == 1 else f"{name} ({times} times)"


def _lines(caller: Caller, names: str, depth: int, width: int) -> list[str]:
    left = (
        f"{duration(caller.duration_ns):>10}  {caller.forks:>7,}  "
        f"{size(caller.page_table_bytes):>8}  {'  ' * min(depth, 10)}"
    )
    return textwrap.wrap(
        names,
        max(width, len(left) + 30),
        initial_indent=left,
        subsequent_indent=" " * (len(left) + 2),
        break_on_hyphens=False,
    )


def caller_name(caller: Caller) -> str:
    """Return a function's name; the file that it is in where it has none."""
    if caller.function.startswith("0x") and caller.module:
        return f"{printable(caller.module.rpartition('/')[2])}+?"
    return named(caller.function)
