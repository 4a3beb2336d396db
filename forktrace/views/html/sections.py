"""The sections of the page: what each shows, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from forktrace.bits import ANON_VMA
from forktrace.report.study import Study
from forktrace.views.html.costliest import costly_fork
from forktrace.views.html.tables import (
    ROWS,
    failure_table,
    group_table,
    part_table,
    trigger_table,
    vfork_table,
)
from forktrace.views.lines import missing_stacks
from forktrace.views.units import counted
from forktrace.views.vforks import recorded_words

_WHAT_TRIGGERS = (
    "A trigger is the flag, or flags joined by +, that made the kernel copy a VMA; "
    "anon_vma when there was none and only the anon_vma did."
)
_WASTE = (
    "Thrown away: what was copied for children that then called exec. posix_spawn or "
    "vfork would save it."
)
_PARTS = (
    "What the time of forks was spent on: setting the child up, waiting for the "
    "parent's mmap_lock, duplicating VMAs, copying their page tables, and finishing."
)
_DRAWN_BY = (
    "A plot is drawn here by JavaScript, in Chrome 80, Edge 80, Firefox 113, Safari "
    "16.4, or later."
)
_FAILED = "A fork that fails may cost as much as one that works."


def sections(study: Study, limit: int | None = None) -> str:
    """Return all of them; without forks there is little to show."""
    rows = limit or ROWS
    study = study.of_rows(limit)
    if not study.forks:
        return _vforks(study)
    parts = [_timeline(study)]
    lengths = _section(
        "How long forks took",
        "From the call to its return. Dotted: p50, p90 and p99, which half, 90% "
        "and 99% of the forks did not exceed.",
        _plot("lengths"),
    )
    if study.copies.sum:
        why = _section(
            "Why page tables were copied",
            "Time spent copying (inside copy_page_range), by what made the kernel "
            f"copy.{_hatched(study)}",
            _plot("triggers"),
        )
        parts.append(f'<div class="pair">\n{why}{lengths}</div>\n')
        parts.append(
            _section(
                "Whose page tables, and in which mapping",
                "From left to right: all copying, the process, the trigger, the "
                f"mapping. {_by_mapping(study)} Click to look closer.",
                _plot("icicle", "plot tall"),
            )
        )
        parts.append(_section("Triggers", _WHAT_TRIGGERS, trigger_table(study, rows)))
    else:
        parts.append(lengths)
    if study.parts:
        parts.append(_section("Where the time went", _PARTS, part_table(study)))
    if study.callers:
        parts.append(_callers(study))
    if study.failures:
        parts.append(_section("Forks that failed", _FAILED, failure_table(study, rows)))
    parts += [
        _vforks(study),
        _section("Processes", _WASTE, group_table("process", study.processes, rows)),
        _section("Cgroups", "", group_table("cgroup", study.cgroups, rows)),
        _section(
            "The most expensive forks",
            "The longest, each with its costliest mappings.",
            "".join(map(costly_fork, study.costliest)),
        ),
    ]
    return "".join(parts)


def _vforks(study: Study) -> str:
    if not study.vforks:
        return ""
    said = f"{recorded_words(study)}. They copy nothing, and stop the caller instead."
    return _section("Callers that vfork held", said, vfork_table(study))


def _timeline(study: Study) -> str:
    """Return the plot, with a choice of what the colours tell."""
    # One colour for all would tell nothing.
    first = "trigger" if len({p.trigger for p in study.points}) > 1 else "process"
    return _section(
        "When forks happened, and how long they took",
        "Each point is a fork; point at one to see whose it was. Its trigger is the "
        "one that cost it most: the flag, or the anon_vma, that made the kernel copy "
        f"page tables.{'' if study.all_drawn else _sampled(study)}",
        _choice(
            "Coloured by", "by", {"process": "process", "trigger": "trigger"}, first
        )
        + _plot("timeline", "plot tall"),
    )


def _callers(study: Study) -> str:
    """Return the flame graph, with a choice of what its widths tell."""
    missing = " ".join(missing_stacks(study.without_stack, study.cut_stacks))
    weights = {"time": "time", "tables": "page tables"}
    return _section(
        "Who called fork",
        "From top to bottom: the process, its outermost function, what that called, "
        f"down to the system call. Click to look closer. {missing}",
        _choice("As wide as its", "width", weights, "time")
        + _plot("callers", "plot tall"),
    )


def _plot(name: str, kind: str = "plot") -> str:
    """Return the place of a plot; draw.js puts the plot where the words are."""
    return f'<div class="{kind}" id="{name}"><p class="caption">{_DRAWN_BY}</p></div>'


def _choice(words: str, name: str, values: Mapping[str, str], first: str) -> str:
    """Return radio buttons: each value with its label."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"'
        f"{' checked' if value == first else ''}> {label}</label>"
        for value, label in values.items()
    )
    return f'<div class="choice">{words} {buttons}</div>\n'


def _hatched(study: Study) -> str:
    both = (cost.anon_vma and cost.trigger != ANON_VMA for cost in study.triggers)
    if not any(both):
        return ""
    return (
        " Hatched: these VMAs have an anon_vma too, so they would be copied without "
        "the flag."
    )


def _sampled(study: Study) -> str:
    return (
        f" Of the {study.forks:,} forks, the {len(study.points):,} longest are drawn "
        "one by one; the shades behind them count all."
    )


def _by_mapping(study: Study) -> str:
    if not study.detailed:
        return "VMAs were not recorded, so mappings are not told apart."
    return (
        f"Mappings are by their part in the {counted(study.detailed, 'fork')} whose "
        "VMAs were kept, the costliest."
    )


def _section(title: str, caption: str, body: str) -> str:
    told = f'<p class="caption">{escape(caption)}</p>\n' if caption else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{told}{body}\n</section>\n"
