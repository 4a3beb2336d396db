"""What ``explain`` says to a person: the answer first, then why, then what to do."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from forktrace.explain.advice import Advice, only_guards
from forktrace.explain.predict import Fate, Forecast
from forktrace.explain.report import Answer, Change, Ranked, Subject
from forktrace.text import printable
from forktrace.views.units import duration, size

_DEAREST = 8
_CHANGES = 12
_GUARDED = 5


def lines(answer: Answer, width: int = 79) -> list[str]:
    """Return the answer about one process, at most ``width`` columns wide."""
    forecast = answer.forecast
    return [
        *_paragraph(verdict(answer), width),
        *_pinned(forecast, width),
        *_refusals(answer, width),
        *_paragraph(_rule(answer.subject), width),
        *_paragraph(_time(answer.subject, forecast), width),
        *_compared(answer, width),
        "",
        *_triggers(forecast),
        *_dearest(forecast, width),
        *_guards(forecast, width),
        *_buffers(forecast, width),
        *_advice(answer.advice, width),
        *_doubts(forecast, width),
    ]


def verdict(answer: Answer) -> str:
    """Say in one sentence what a fork would copy, what it costs, and why."""
    forecast, subject = answer.forecast, answer.subject
    process = forecast.process
    total = forecast.page_table_bytes
    where = f" on {subject.asked}" if subject.asked else ""
    said = (
        f"A fork of {printable(process.comm)} ({process.pid}){where} would copy "
        f"{forecast.counts.copy} of {len(forecast.fates)} VMAs and allocate "
        f"{size(total)} of page tables"
    )
    if total:
        first = forecast.triggers[0]
        share = 100 * first.page_table_bytes / total
        said += f", {share:.0f}% because of {first.trigger}"
    return f"{said}."


def _pinned(forecast: Forecast, width: int) -> list[str]:
    if not forecast.pinned_bytes:
        return []
    return _paragraph(
        f"It would also copy at least {size(forecast.pinned_bytes)} of pages "
        "themselves, not only their page tables: buffers registered with io_uring, "
        "which are pinned.",
        width,
    )


def _refusals(answer: Answer, width: int) -> list[str]:
    return [
        line
        for each in answer.refusals
        for line in _paragraph(
            f"It would fail now with {each.errno}: {each.reason}. {each.advice}", width
        )
    ]


def ranking_lines(ranked: Ranked) -> list[str]:
    """Return the table of processes, in 80 columns."""
    rows = ranked.ranking.dearest
    head = f"{'PID':>7} {'COMM':<15} {'VMAS':>6} {'COPIED':>6} {'TABLES':>9}"
    compared = ranked.subject.asked is not None
    timed = ranked.subject.measured is not None
    head += f" {'HERE':>9}" if compared else ""
    head += f" {'TIME':>8}" if timed else ""
    said = [f"{head}  MOSTLY BY"]
    for row in rows:
        forecast = row.forecast
        line = (
            f"{forecast.process.pid:>7} {printable(forecast.process.comm):<15.15} "
            f"{len(forecast.fates):>6} {forecast.counts.copy:>6} "
            f"{size(forecast.page_table_bytes):>9}"
        )
        if row.here:
            line += f" {size(row.here.page_table_bytes):>9}"
        time_ns = ranked.subject.time_ns(forecast)
        line += f" {duration(time_ns):>8}" if time_ns is not None else ""
        why = forecast.triggers[0].trigger if forecast.triggers else "-"
        said.append(f"{line}  {why}")
    return [*said, "", *_paragraph(_rule(ranked.subject), 79), *_rest(ranked)]


def _rest(ranked: Ranked) -> list[str]:
    """Say who is not in the table."""
    ranking, said = ranked.ranking, []
    if ranking.unseen:
        whose = "it" if ranking.unseen == 1 else "any of them"
        said.append(
            f"{_processes(ranking.unseen, 'more ')} not examined: a fork of {whose} "
            f"allocates at most {size(ranking.at_most)}."
        )
    if ranking.unread:
        root = ": run as root" if os.geteuid() else ""
        unread = _processes(ranking.unread)
        said.append(f"{unread} not readable (permission denied){root}.")
    return [line for each in said for line in _paragraph(each, 79)]


def _processes(count: int, more: str = "") -> str:
    one = count == 1
    return f"{count} {more}{'process was' if one else 'processes were'}"


def _rule(subject: Subject) -> str:
    return f"Rule of {subject.release}: {subject.words()}."


def _time(subject: Subject, forecast: Forecast) -> str:
    time_ns = subject.time_ns(forecast)
    if time_ns is None or subject.measured is None:
        return (
            "Time: not known, nothing was measured on this host "
            "(--measured takes forktrace's metrics or JSON)."
        )
    return (
        f"Time: about {duration(time_ns)} of copying, "
        f"as measured by {subject.measured.source}"
        f"{', without the pinned pages' if forecast.pinned_bytes else ''}."
    )


def _compared(answer: Answer, width: int) -> list[str]:
    """Say how the rule asked about differs from the running kernel's."""
    here, changes = answer.here, answer.changes
    if here is None:
        return []
    more = [change for change in changes if _gains(change)]
    less = [change for change in changes if _gains(change, back=True)]
    said = _paragraph(
        f"Here, on {answer.subject.kernel}, {here.counts.copy} VMAs and "
        f"{size(here.page_table_bytes)}. {answer.subject.asked} would copy "
        f"{_count(more)} not copied here, and leave out {len(less)} copied here.",
        width,
    )
    if not changes:
        return said
    said += ["", f"  {'ADDRESS':>12}  {'SIZE':>8}  {'HERE':<19}  THERE"]
    said += [_change(change)[:width] for change in changes[:_CHANGES]]
    return said + _more(len(changes) - _CHANGES)


def _gains(change: Change, *, back: bool = False) -> bool:
    before, after = change.here.copied, change.there.copied
    return before and not after if back else after and not before


def _change(change: Change) -> str:
    vma = change.here.vma
    return (
        f"  {vma.start:>12x}  {size(vma.size):>8}  {_outcome(change.here):<19}  "
        f"{_outcome(change.there):<19}  {printable(vma.name)}"
    ).rstrip()


def _outcome(fate: Fate) -> str:
    return fate.trigger or fate.decision


def _triggers(forecast: Forecast) -> list[str]:
    rows = [("WHY", "ANON_VMA", "VMAS", "PAGE TABLES")]
    rows += [
        (
            cost.trigger,
            "yes" if cost.anon_vma else "no",
            str(cost.vmas),
            size(cost.page_table_bytes),
        )
        for cost in forecast.triggers
    ]
    counts = forecast.counts
    for name, count in (
        ("not copied", counts.skip),
        ("dontcopy", counts.dontcopy),
        ("wipeonfork", counts.wipeonfork),
    ):
        if count:
            rows.append((name, "", str(count), ""))
    wide = max(len(row[0]) for row in rows)
    return [
        f"  {why:<{wide}}  {anon:<8}  {vmas:>6}  {tables:>11}".rstrip()
        for why, anon, vmas, tables in rows
    ]


def _dearest(forecast: Forecast, width: int) -> list[str]:
    """Return the mappings that cost most; those that cost nothing are left out."""
    costly = [f for f in forecast.fates if f.copied and f.page_table_bytes]
    costly.sort(key=lambda fate: (-fate.page_table_bytes, fate.vma.start))
    if not costly:
        return []
    said = ["", f"  {'TABLES':>8}  {'SIZE':>8}  {'RSS':>8}  {'WHY':<11}  MAPPING"]
    for fate in costly[:_DEAREST]:
        row = (
            f"  {size(fate.page_table_bytes):>8}  {size(fate.vma.size):>8}  "
            f"{size(fate.vma.rss):>8}  {fate.trigger:<11}  "
            f"{fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    rest = costly[_DEAREST:]
    total = size(sum(fate.page_table_bytes for fate in rest))
    return said + _more(len(rest), f", {total}")


def _guards(forecast: Forecast, width: int) -> list[str]:
    """Show what guard pages cost, where they alone make fork copy."""
    guarded = [fate for fate in forecast.fates if only_guards(fate)]
    if not guarded:
        return []
    guarded.sort(key=lambda fate: (-fate.page_table_bytes, fate.vma.start))
    said = ["", f"  {'GUARDS':>8}  {'COPIED':>8}  {'SIZE':>8}  MAPPING COPIED FOR THEM"]
    for fate in guarded[:_GUARDED]:
        pages = "?" if fate.guard_pages is None else str(fate.guard_pages)
        row = (
            f"  {pages:>8}  {size(fate.page_table_bytes):>8}  "
            f"{size(fate.vma.size):>8}  {fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    return said + _more(len(guarded) - _GUARDED)


def _buffers(forecast: Forecast, width: int) -> list[str]:
    """Show which mappings hold pages that are copied themselves."""
    pinned = [fate for fate in forecast.fates if fate.pinned_bytes]
    if not pinned:
        return []
    pinned.sort(key=lambda fate: (-fate.pinned_bytes, fate.vma.start))
    said = ["", f"  {'PAGES':>8}  {'SIZE':>8}  MAPPING WITH PINNED PAGES"]
    for fate in pinned[:_GUARDED]:
        row = (
            f"  {size(fate.pinned_bytes):>8}  {size(fate.vma.size):>8}  "
            f"{fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    return said + _more(len(pinned) - _GUARDED)


def _advice(advice: Sequence[Advice], width: int) -> list[str]:
    if not advice:
        return []
    said = ["", "What to do:"]
    for number, each in enumerate(advice, 1):
        when = f", {each.condition}" if each.condition else ""
        text = f"{number}. {each.text}{when}: saves {_saving(each)}. {each.reason}"
        said += _paragraph(text, width, "   ")
    return said


def _saving(advice: Advice) -> str:
    if advice.entries:
        return f"copying {advice.entries:,} entries"
    tables = f"{size(advice.page_table_bytes)} and {_count(range(advice.vmas))}"
    if not advice.pinned_bytes:
        return tables
    pages = f"copying {size(advice.pinned_bytes)} of pages"
    return f"{pages}, {tables}" if advice.vmas else pages


def _doubts(forecast: Forecast, width: int) -> list[str]:
    """Say what /proc cannot tell of this process."""
    said: list[str] = []
    anon = [fate for fate in forecast.doubtful if fate.doubt == "anon_vma"]
    if anon:
        said.append(
            "Whether a private VMA without anonymous pages has an anon_vma all the "
            "same (written once, or merged with one that was): "
            f"here {len(anon)}, which would add up to {_bytes(anon)}."
        )
    uffd = [fate for fate in forecast.fates if fate.doubt == "event_fork"]
    if uffd:
        added = _bytes(fate for fate in uffd if not fate.copied)
        said.append(
            f"Whether the userfaultfd of {_count(uffd)} reports forks (it is held "
            f"elsewhere, or is one of several): if so, that adds up to {added}."
        )
    if forecast.pinned_elsewhere:
        said.append(
            f"Where {size(forecast.pinned_elsewhere)} lie that are pinned as well "
            "(VmPin), for RDMA say: what of it is private memory, fork copies too, "
            "but for MADV_DONTFORK."
        )
    if forecast.hidden_copied:
        said.append(
            f"{size(forecast.hidden_copied)} of the page tables stand empty (VmPTE "
            "counts them) and were taken to belong to private memory that was freed."
        )
    if forecast.process.seen.guessed:
        said.append(
            f"{size(forecast.process.seen.guessed)} of addresses could not be looked "
            "into; their memory was taken to lie close together."
        )
    if not said:
        return []
    told = [line for each in said for line in _paragraph(f"- {each}", width, "  ")]
    return ["", "What /proc cannot tell:", *told]


def _count(vmas: Sequence[object]) -> str:
    return f"{len(vmas)} VMA{'' if len(vmas) == 1 else 's'}"


def _bytes(fates: Iterable[Fate]) -> str:
    return size(sum(fate.page_table_bytes for fate in fates))


def _more(count: int, what: str = "") -> list[str]:
    return [f"  and {count} more{what}"] if count > 0 else []


def _named(row: str, fate: Fate, width: int) -> str:
    whole = row + _shortened(fate.vma.name, width - len(row))
    return whole[:width].rstrip()


def _shortened(name: str, room: int) -> str:
    """Return a name that fits: the end of a path tells most."""
    name = printable(name)
    if len(name) <= room:
        return name
    return "..." + name[len(name) - room + 3 :] if room > 8 else ""


def _paragraph(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
