"""Tables of the page: of triggers and of groups, and what any table is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from forktrace.bits import ANON_VMA
from forktrace.model import TriggerCost
from forktrace.report.study import Group, Study
from forktrace.text import printable, shortened
from forktrace.views import palette, vforks
from forktrace.views import report as text
from forktrace.views.lines import in_thread
from forktrace.views.parts import WORDS
from forktrace.views.units import duration, size

ROWS = 15
"""How many a table has at most, unless told otherwise."""

_TRIGGER_HEADS = (
    ("trigger", "name"),
    ("anon_vma too", ""),
    ("VMAs copied", "number"),
    ("time copying", "number"),
    ("share", "number"),
    ("page tables", "number"),
)


def trigger_table(study: Study, rows: int = ROWS) -> str:
    """Return what each trigger cost, the dearest first."""
    whole = max(study.copies.sum, 1)

    def row(cost: TriggerCost) -> list[str]:
        own = cost.trigger == ANON_VMA
        return [
            trigger_label(cost.trigger),
            "" if own else "yes" if cost.anon_vma else "no",
            f"{cost.vmas:,}",
            duration(cost.copy_ns),
            _share(cost.copy_ns / whole),
            size(cost.page_table_bytes),
        ]

    return table(_TRIGGER_HEADS, map(row, study.triggers[:rows]))


def group_table(what: str, groups: Sequence[Group], rows: int = ROWS) -> str:
    """Return what each process, or each cgroup, cost."""
    heads = (
        (what, "mapping" if what == "cgroup" else "name"),
        ("forks", "number"),
        ("time in fork", "number"),
        ("p99", "number"),
        ("longest", "number"),
        ("time copying", "number"),
        ("share", "number"),
        ("page tables", "number"),
        ("thrown away", "number"),
        ("mostly by", ""),
    )
    whole = max(sum(group.copy_ns for group in groups), 1)

    def row(group: Group) -> list[str]:
        waste = group.exec_discards
        first = next(iter(group.triggers), "")
        return [
            cgroup_label(text.group_label(group)),
            f"{group.forks:,}",
            duration(group.durations.sum),
            duration(group.durations.quantile(0.99)),
            duration(group.durations.highest),
            duration(group.copy_ns),
            _share(group.copy_ns / whole),
            size(group.page_table_bytes),
            duration(waste.copy_ns) if waste.discards else "",
            trigger_label(first) if first else "",
        ]

    # A cgroup is not told who threw copies away.
    wasted = any(group.exec_discards.discards for group in groups)
    kept = [
        place for place, head in enumerate(heads) if wasted or head[0] != "thrown away"
    ]
    shown = [[cells[place] for place in kept] for cells in map(row, groups[:rows])]
    said = table([heads[place] for place in kept], shown)
    rest = groups[rows:]
    if rest:
        names = sum(group.names for group in rest)
        cost = duration(sum(group.copy_ns for group in rest))
        said += f'\n<p class="caption">and {names:,} more, which copied for {cost}</p>'
    return said


def part_table(study: Study) -> str:
    """Return what the time of forks was spent on, in the order in which it comes."""
    whole = max(sum(study.parts.values()), 1)
    heads = (("part", ""), ("time", "number"), ("share", "number"))
    return table(
        heads,
        (
            [escape(WORDS[name]), duration(ns), _share(ns / whole)]
            for name, ns in study.parts.items()
        ),
    )


def failure_table(study: Study, rows: int = ROWS) -> str:
    """Return who called forks that failed, and why they did."""
    heads = (
        *(("errno", "name"), ("process", "name"), ("cgroup", "mapping")),
        *(("forks", "number"), ("time", "number")),
    )
    return table(
        heads,
        (
            [
                *(escape(printable(name)) for name in (each.errno, each.comm)),
                cgroup_label(printable(each.cgroup)),
                *(f"{each.forks:,}", duration(each.duration_ns)),
            ]
            for each in study.failures[:rows]
        ),
    )


def vfork_table(study: Study) -> str:
    """Return the calls of vfork that held their callers longest."""
    heads = (
        *(
            ("held for", "number"),
            ("at (UTC)", "name"),
            ("process", "name"),
            ("child", ""),
        ),
        *(("until", ""), ("cgroup", "mapping")),
    )
    return table(
        heads,
        (
            [
                duration(each.held_ns),
                vforks.clock(each),
                escape(f"{printable(each.comm)}[{each.pid}]{in_thread(each)}"),
                str(each.child_pid),
                each.ended,
                cgroup_label(printable(each.cgroup)),
            ]
            for each in study.longest_vforks
        ),
    )


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a head is a title and a class, a cell is HTML already."""
    head = "".join(f'<th class="{kind}">{title}</th>' for title, kind in heads)
    body = "\n".join(
        "<tr>"
        + "".join(
            cell if cell.startswith("<td") else f'<td class="{kind}">{cell}</td>'
            for cell, (_, kind) in zip(row, heads)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def cgroup_label(name: str) -> str:
    """Return a name with the ids of containers shortened, and whole in its tooltip."""
    short = shortened(name)
    if short == name:
        return escape(name)
    return f'<span title="{escape(name)}">{escape(short)}</span>'


def trigger_label(name: str) -> str:
    """Return a trigger, with its colour before it."""
    return (
        f'<span class="trigger"><i class="swatch" style="background:'
        f'{palette.of_trigger(name)}"></i>{escape(printable(name))}</span>'
    )


def _share(share: float) -> str:
    return (
        f'<td class="number share" style="background-size:{share:.1%} 72%">'
        f"{share:.1%}</td>"
    )
