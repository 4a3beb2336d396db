"""Two recordings side by side: what a fork cost before, and what it costs after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from forktrace.report.study import Group, Study
from forktrace.text import printable
from forktrace.views.report import header
from forktrace.views.units import duration, size

_ROWS = 12
_NAME = 28

_Number = Callable[[Study], "float | None"]
_Words = Callable[[float], str]


class _Row(NamedTuple):
    """A number of a recording, None where it has none, and how it is written."""

    name: str
    number: _Number
    words: _Words

    def line(self, before: Study, after: Study) -> str:
        """Return it of both, with the change where both have it."""
        was, is_now = self.number(before), self.number(after)
        cells = ["-" if each is None else self.words(each) for each in (was, is_now)]
        change = f"{is_now / was - 1:+.0%}" if was and is_now is not None else ""
        name = printable(self.name)[:_NAME]
        return f"{name:<{_NAME}} {cells[0]:>11} {cells[1]:>11} {change:>8}".rstrip()


def lines(before: Study, after: Study, rows: int | None = None) -> list[str]:
    """Return the comparison, its answer first; ``rows`` of names at most."""
    return [
        _verdict(before, after),
        "",
        "Before:",
        *(f"  {line}" for line in header(before)),
        "After:",
        *(f"  {line}" for line in header(after)),
        "",
        f"{'':{_NAME}} {'BEFORE':>11} {'AFTER':>11} {'CHANGE':>8}",
        *(row.line(before, after) for row in _rows(before, after, rows or _ROWS)),
    ]


def _verdict(before: Study, after: Study) -> str:
    if not before.forks or not after.forks:
        return "There is no fork in one of the recordings, so nothing to compare."
    was, is_now = (duration(each.durations.quantile(0.5)) for each in (before, after))
    longest = [duration(each.durations.highest) for each in (before, after)]
    return (
        f"Half of the forks took at most {was} before and {is_now} after; the longest "
        f"took {longest[0]} before and {longest[1]} after."
    )


def _rows(before: Study, after: Study, most: int) -> Iterator[_Row]:
    yield _Row("forks", lambda study: study.forks, _count)
    yield _Row("failed", lambda study: study.failed, _count)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("longest", 1.0)):
        yield _Row(name, _quantile(share), duration)
    yield _Row("on average: whole fork", _mean(lambda s: s.durations.sum), duration)
    yield _Row("  copying", _mean(lambda s: s.copies.sum), duration)
    for name in _names(_by_trigger(before), _by_trigger(after))[:most]:
        yield _Row(f"    by {name}", _mean(_of_trigger(name)), duration)
    yield _Row("  VMAs copied", _mean(lambda s: s.vmas.copy), _one_place)
    yield _Row("  page tables", _mean(lambda s: s.page_table_bytes), size)
    for name in _names(_by_process(before), _by_process(after))[:most]:
        yield _Row(f"  of {name}", _mean_of_process(name), duration)


def _quantile(share: float) -> _Number:
    return lambda study: study.durations.quantile(share) if study.forks else None


def _mean(total: Callable[[Study], float]) -> _Number:
    return lambda study: total(study) / study.forks if study.forks else None


def _by_trigger(study: Study) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for cost in study.triggers:
        sums[cost.trigger] = sums.get(cost.trigger, 0) + cost.copy_ns
    return sums


def _of_trigger(name: str) -> Callable[[Study], float]:
    return lambda study: _by_trigger(study).get(name, 0)


def _by_process(study: Study) -> Mapping[str, Group]:
    return {group.name: group for group in study.processes}


def _mean_of_process(name: str) -> _Number:
    def mean(study: Study) -> float | None:
        group = _by_process(study).get(name)
        return group.durations.sum / group.forks if group and group.forks else None

    return mean


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names of both, the most expensive of each first."""
    return list(dict.fromkeys([*before, *after]))


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _one_place(value: float) -> str:
    return f"{value:,.1f}"
