"""A report as one page: plots, tables and the reading of them, nothing from elsewhere.

Names in a recording are whatever a process chose to be called, so every one of them is
escaped, and the page forbids itself to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from forktrace import __version__
from forktrace.model import ANON_VMA, TriggerCost
from forktrace.report.study import Dear, Group, Study
from forktrace.text import printable
from forktrace.views import palette, plots
from forktrace.views import report as text
from forktrace.views.units import duration, size

_ROWS = 15
_MAPPINGS = 12

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)


def page(study: Study) -> str:
    """Return the whole page."""
    drawn = _plots(study)
    title = f"Forks on {printable(study.header.host)}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_file("style.css")}</style>
</head>
<body>
<main>
{_top(study, title)}
{_sections(study)}
{_about(study)}
<footer>Made by forktrace {escape(__version__)}. Durations are inside the kernel, from
the call of fork to its return; sizes are powers of 1024.</footer>
</main>
<script>{get_plotlyjs()}</script>
<script type="application/json" id="plots">{_safe_json(drawn)}</script>
<script>
{_file("draw.js")}</script>
</body>
</html>
"""


def _plots(study: Study) -> dict[str, Any]:
    if not study.forks:
        return {}
    drawn = {"timeline": plots.timeline(study), "lengths": plots.lengths(study)}
    if study.copies.sum:
        drawn["triggers"] = plots.triggers(study)
        drawn["icicle"] = plots.icicle(study)
    return {name: plot.to_json() for name, plot in drawn.items()}


def _safe_json(value: Any) -> str:
    """Return JSON in which nothing can end the script element that holds it."""
    said = json.dumps(value, separators=(",", ":"))
    for letter in "<>&":
        said = said.replace(letter, f"\\u{ord(letter):04x}")
    return said


def _file(name: str) -> str:
    return (resources.files("forktrace.views") / "page" / name).read_text("utf-8")


def _top(study: Study, title: str) -> str:
    notes = []
    if study.ended == "cut_off":
        notes.append("This recording was cut off; its last second may be missing.")
    if study.unwritten:
        notes.append(f"{study.unwritten:,} forks no longer fitted into the file.")
    if study.lost:
        told = ", ".join(f"{n:,} at {stage}" for stage, n in study.lost.items())
        notes.append(f"Some of what happened was lost: {printable(told)}.")
    said = "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>\n'
        for value, what in _tiles(study)
    )
    return (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="verdict">{escape(text.verdict(study))}</p>\n'
        f'{said}<div class="tiles">\n{tiles}</div>'
    )


def _tiles(study: Study) -> list[tuple[str, str]]:
    seconds = max(study.span_ns / 1e9, 1e-9)
    whole = study.durations
    tiles = [
        (f"{study.forks:,}", f"forks, {study.forks / seconds:.3g} a second"),
        (duration(whole.quantile(0.5)), "half of them took no longer"),
        (duration(whole.quantile(0.99)), "99% of them took no longer"),
        (duration(whole.highest), "the longest"),
        (size(study.page_table_bytes), "of page tables copied"),
    ]
    waste = study.exec_discards
    share = waste.copy_ns / max(study.copies.sum, 1)
    if share >= 0.005:
        tiles.append((f"{share:.0%}", "of copying thrown away by exec"))
    if study.failed:
        tiles.append((f"{study.failed:,}", "forks failed"))
    return tiles


def _sections(study: Study) -> str:
    if not study.forks:
        return ""
    parts = [_timeline(study)]
    lengths = _section(
        "How long forks took",
        "From the call to its return. Dotted: half, 90% and 99% of the forks took "
        "no longer than that.",
        '<div class="plot" id="lengths"></div>',
    )
    if study.copies.sum:
        why = _section(
            "Why page tables were copied",
            f"Time spent copying, by what made the kernel copy.{_hatched(study)}",
            '<div class="plot" id="triggers"></div>',
        )
        parts.append(f'<div class="pair">\n{why}{lengths}</div>\n')
        parts.append(
            _section(
                "Whose page tables, and in which mapping",
                "From left to right: all copying, the process, the trigger, the "
                f"mapping. {_by_mapping(study)} Click to look closer.",
                '<div class="plot tall" id="icicle"></div>',
            )
        )
        parts.append(_section("Triggers", _WHAT_TRIGGERS, _trigger_table(study)))
    else:
        parts.append(lengths)
    parts += [
        _section("Processes", _WASTE, _group_table("process", study.processes)),
        _section("Cgroups", "", _group_table("cgroup", study.cgroups)),
        _section(
            "The most expensive forks",
            "The longest, each with its costliest mappings.",
            "".join(map(_dear, study.costliest)),
        ),
    ]
    return "".join(parts)


_WHAT_TRIGGERS = (
    "A trigger is the flag, or flags joined by +, that made the kernel copy a VMA; "
    "anon_vma when there was none and only the anon_vma did."
)
_WASTE = (
    "Thrown away: what was copied for children that then called exec. posix_spawn or "
    "vfork would save it."
)


def _timeline(study: Study) -> str:
    """Return the plot, with a choice of what the colours tell."""
    # One colour for all would tell nothing.
    first = "trigger" if len({p.trigger for p in study.points}) > 1 else "process"
    choices = "".join(
        f'<label><input type="radio" name="by" value="{by}"'
        f"{' checked' if by == first else ''}> {by}</label>"
        for by in ("process", "trigger")
    )
    return _section(
        "When forks happened, and how long they took",
        "Each point is a fork; point at one to see whose it was. Its trigger is the "
        "one that cost it most: the flag, or the anon_vma, that made the kernel copy "
        f"page tables.{'' if study.all_drawn else _sampled(study)}",
        f'<div class="choice">Coloured by {choices}</div>\n'
        '<div class="plot tall" id="timeline"></div>',
    )


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
    forks = "fork" if study.detailed == 1 else "forks"
    return (
        f"Mappings are by their part in the {study.detailed:,} {forks} whose VMAs were "
        "kept, the costliest."
    )


def _section(title: str, caption: str, body: str) -> str:
    told = f'<p class="caption">{escape(caption)}</p>\n' if caption else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{told}{body}\n</section>\n"


def _table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
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
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _share(share: float) -> str:
    return (
        f'<td class="number share" style="background-size:{share:.1%} 72%">'
        f"{share:.1%}</td>"
    )


def _trigger(name: str) -> str:
    return (
        f'<span class="trigger"><i class="swatch" style="background:'
        f'{palette.of_trigger(name)}"></i>{escape(printable(name))}</span>'
    )


_TRIGGER_HEADS = (
    ("trigger", "name"),
    ("anon_vma too", ""),
    ("VMAs copied", "number"),
    ("time copying", "number"),
    ("share", "number"),
    ("page tables", "number"),
)


def _trigger_table(study: Study) -> str:
    whole = max(study.copies.sum, 1)

    def row(cost: TriggerCost) -> list[str]:
        own = cost.trigger == ANON_VMA
        return [
            _trigger(cost.trigger),
            "" if own else "yes" if cost.anon_vma else "no",
            f"{cost.vmas:,}",
            duration(cost.copy_ns),
            _share(cost.copy_ns / whole),
            size(cost.page_table_bytes),
        ]

    return _table(_TRIGGER_HEADS, map(row, study.triggers[:_ROWS]))


def _group_table(what: str, groups: Sequence[Group]) -> str:
    heads = (
        (what, "name"),
        ("forks", "number"),
        ("time in fork", "number"),
        ("99% within", "number"),
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
            escape(text.group_label(group)),
            f"{group.forks:,}",
            duration(group.durations.sum),
            duration(group.durations.quantile(0.99)),
            duration(group.durations.highest),
            duration(group.copy_ns),
            _share(group.copy_ns / whole),
            size(group.page_table_bytes),
            duration(waste.copy_ns) if waste.discards else "",
            _trigger(first) if first else "",
        ]

    # A cgroup is not told who threw copies away.
    wasted = any(group.exec_discards.discards for group in groups)
    kept = [
        place for place, head in enumerate(heads) if wasted or head[0] != "thrown away"
    ]
    rows = [[cells[place] for place in kept] for cells in map(row, groups[:_ROWS])]
    said = _table([heads[place] for place in kept], rows)
    rest = groups[_ROWS:]
    if rest:
        names = sum(group.names for group in rest)
        cost = duration(sum(group.copy_ns for group in rest))
        said += f'\n<p class="caption">and {names:,} more, which copied for {cost}</p>'
    return said


_VMA_HEADS = (
    ("time", "number"),
    ("page tables", "number"),
    ("size", "number"),
    ("trigger", ""),
    ("address", "address"),
    ("flags", "mapping"),
    ("mapping", "mapping"),
)


def _dear(dear: Dear) -> str:
    fork = dear.fork
    began = datetime.fromtimestamp(fork.time_ns // 10**9, timezone.utc)
    counts = fork.vmas
    every = counts.copy + counts.skip + counts.dontcopy + counts.wipeonfork
    clock = f"{began:%H:%M:%S}.{fork.time_ns // 10**6 % 1000:03d} UTC"
    said = (
        f"<b>{duration(fork.duration_ns)}</b> {escape(text.named(fork.comm))}"
        f"[{fork.pid}] <span>at {clock}; "
        f"{duration(fork.copy_ns)} copying {counts.copy} of {every} VMAs, "
        f"{size(fork.page_table_bytes)}; {escape(printable(fork.cgroup))}</span>"
    )
    copied = text.copied_vmas(dear)
    if not copied:
        return f"<details><summary>{said}</summary></details>\n"
    rows = [
        [
            duration(vma.copy_ns),
            size(vma.page_table_bytes),
            size(vma.end - vma.start),
            _trigger(vma.trigger or ""),
            f"{vma.start:x} {text.permissions(vma)}",
            escape(printable(" ".join(vma.flags))),
            escape(text.mapping(dear, vma)),
        ]
        for vma in copied[:_MAPPINGS]
    ]
    table = _table(_VMA_HEADS, rows)
    rest = copied[_MAPPINGS:]
    if rest:
        cost = duration(sum(vma.copy_ns for vma in rest))
        table += f'\n<p class="caption">and {len(rest)} more: {cost}</p>'
    return f"<details><summary>{said}</summary>\n{table}\n</details>\n"


def _about(study: Study) -> str:
    told = "".join(
        f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>\n"
        for what, value in _facts(study)
    )
    return f"<section>\n<h2>The recording</h2>\n<dl>\n{told}</dl>\n</section>"


def _facts(study: Study) -> list[tuple[str, str]]:
    head = study.header
    began = datetime.fromtimestamp(head.time_ns // 10**9, timezone.utc)
    counts = study.vmas
    rule = f"{printable(head.rule.words)} (read from {printable(head.rule.read_from)})"
    attach, decision = printable(head.attach), printable(head.decision)
    facts = [
        ("kernel", f"{printable(head.release)}, {printable(head.arch)}"),
        ("its rule", rule),
        ("began", f"{began:%Y-%m-%d %H:%M:%S} UTC, on {printable(head.host)}"),
        ("lasted", f"{text.span(study)}; it {text.ENDINGS.get(study.ended, 'ended')}"),
        ("which forks", text.chosen(study)),
        (
            "VMAs",
            f"{counts.copy:,} copied, {counts.skip:,} skipped, {counts.dontcopy:,} "
            f"dontcopy, {counts.wipeonfork:,} wipeonfork",
        ),
        ("seen by", f"{attach} probes, decisions from {decision}"),
    ]
    if study.host and study.host.programs and study.host.duration_ns:
        own = sum(each.run_ns for each in study.host.programs)
        facts.append(
            ("tracing took", f"{own / study.host.duration_ns:.1%} of fork time")
        )
    return facts
