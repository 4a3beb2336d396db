"""Who called fork, as a flame graph: the outermost function on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forktrace.report.callers import Caller
from forktrace.report.study import Study
from forktrace.views.callers import caller_name
from forktrace.views.plots.figure import Plot, shown
from forktrace.views.plots.icicle import Layer, Tree, icicle
from forktrace.views.units import counted, duration, size

_LEVELS = 24
_LEAST_SHARE = 500
"""What weighs less than this part of all is left out: it would be a line."""


def callers_plot(study: Study) -> Plot:
    """Return the trees of all processes, by time and by page tables."""
    by_time = _tree(study.callers, lambda each: each.duration_ns, duration)
    by_tables = _tree(study.callers, lambda each: each.page_table_bytes, size)
    return icicle(
        [Layer(by_time, "v", _LEVELS, "time"), Layer(by_tables, "v", _LEVELS, "tables")]
    )


def _tree(
    callers: Sequence[Caller],
    weight: Callable[[Caller], int],
    words: Callable[[int], str],
) -> Tree:
    tree = Tree()
    whole = sum(map(weight, callers))
    root = tree.add_told("", "all forks", whole, None, words(whole))
    waiting = [(root, caller) for caller in callers]
    for parent, caller in waiting:
        value = weight(caller)
        if value * _LEAST_SHARE < whole or not value:
            continue
        label, note = shown(caller_name(caller)), f", {counted(caller.forks, 'fork')}"
        node = tree.add_told(parent, label, value, None, words(value), note)
        waiting += [(node, below) for below in caller.ranked()]
    return tree
