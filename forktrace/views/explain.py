"""What ``explain`` says to a person: the answer first, then why, then what to do."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

from forktrace.explain.advice import Advice
from forktrace.explain.predict import Fate, Forecast
from forktrace.explain.report import Answer, Change, Ranked, Subject
from forktrace.text import printable
from forktrace.views import mappings, paste
from forktrace.views.units import duration, size

_CHANGES = 12
_CLOSED = 5


def lines(answer: Answer, width: int = 79) -> list[str]:
    """Return the answer about one process, at most ``width`` columns wide."""
    forecast = answer.forecast
    return [
        *_paragraph(verdict(answer), width),
        *_pinned(forecast, width),
        *_refusals(answer, width),
        *_paste(answer, width),
        *_paragraph(_rule(answer.subject), width),
        *_paragraph(_time(answer.subject, forecast), width),
        *_compared(answer, width),
        "",
        *_triggers(forecast),
        *mappings.dearest(forecast, width),
        *mappings.left_out(forecast, width),
        *mappings.guarded(forecast, width),
        *mappings.buffers(forecast, width),
        *_advice(answer.advice, width),
        *_doubts(forecast, width),
    ]


def verdict(answer: Answer) -> str:
    """Say in one sentence what a fork would copy, what it costs, and why."""
    forecast, subject = answer.forecast, answer.subject
    process = forecast.process
    total = forecast.page_table_bytes
    where = f" on {subject.asked}" if subject.asked else ""
    who = f"{printable(process.comm or '')} ({process.pid})"
    if answer.paste:
        who = f"the process of {answer.paste.name}"
    copied = forecast.counts.copy
    said = (
        f"A fork of {who}{where} would copy "
        f"{_range(str(copied), str(copied + len(forecast.doubtful)))} of "
        f"{_count(forecast.fates)} and allocate "
        f"{_range(size(forecast.least_bytes), size(forecast.most_bytes))} of page "
        "tables"
    )
    if total:
        first = forecast.triggers[0]
        share = 100 * first.page_table_bytes / total
        said += f", {share:.0f}% because of {first.trigger}"
    return f"{said}."


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


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
        for each in answer.refusals or ()
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
        comm = printable(forecast.process.comm or "")
        line = (
            f"{forecast.process.pid:>7} {comm:<15.15} "
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
    if ranking.closed:
        root = ": run as root" if os.geteuid() else ""
        closed = _processes(len(ranking.closed))
        most = ", ".join(
            f"{printable(each.comm)} ({each.pid}) {size(each.page_table_bytes or 0)}"
            for each in ranking.closed[:_CLOSED]
        )
        said.append(
            f"{closed} not readable (permission denied){root}. A fork of one "
            f"allocates at most the page tables that it has itself (VmPTE): {most}"
            f"{', and so on' if len(ranking.closed) > _CLOSED else ''}."
        )
    return [line for each in said for line in _paragraph(each, 79)]


def _processes(count: int, more: str = "") -> str:
    one = count == 1
    return f"{count} {more}{'process was' if one else 'processes were'}"


def _rule(subject: Subject) -> str:
    newest = ", the newest known (--rule takes another)" if subject.newest else ""
    return f"Rule of {subject.release}{newest}: {subject.words()}."


def _time(subject: Subject, forecast: Forecast) -> str:
    time_ns = subject.time_ns(forecast)
    if subject.kernel is None and time_ns is None:
        return "Time: not known (--measured takes forktrace's metrics or JSON)."
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


def _paste(answer: Answer, width: int) -> list[str]:
    if answer.paste is None:
        return []
    said = paste.sentences(answer.paste, answer.forecast)
    return [line for each in said for line in _paragraph(each, width)]


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
    return said + mappings.more(len(changes) - _CHANGES)


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
    of_paste = forecast.process.pid is None
    said: list[str] = []
    unknown = [fate for fate in forecast.doubtful if fate.doubt == "vm_flags"]
    if unknown:
        said.append(
            f"Which flags {_count(unknown)} have (Linux prints VmFlags since 3.8): all "
            f"of them copied would add {_added(forecast, unknown)}."
        )
    anon = [fate for fate in forecast.doubtful if fate.doubt == "anon_vma"]
    if anon:
        said.append(
            "Whether a private VMA without anonymous pages has an anon_vma all the "
            "same (written once, or merged with one that was): "
            f"here {len(anon)}, which would add {_added(forecast, anon)}."
        )
    uffd = [fate for fate in forecast.fates if fate.doubt == "event_fork"]
    if uffd:
        added = _added(forecast, [fate for fate in uffd if not fate.copied])
        said.append(
            f"Whether the userfaultfd of {_count(uffd)} reports forks (it is held "
            f"elsewhere, or is one of several): if so, that adds {added}."
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
    if of_paste:
        said.append(
            "Page tables that stand empty, and pages that are pinned: both add to it."
        )
    elif forecast.process.seen.guessed:
        said.append(
            f"{size(forecast.process.seen.guessed)} of addresses could not be looked "
            "into; their memory was taken to lie close together."
        )
    if not said:
        return []
    told = [line for each in said for line in _paragraph(f"- {each}", width, "  ")]
    return ["", f"What {'smaps' if of_paste else '/proc'} cannot tell:", *told]


def _added(forecast: Forecast, fates: Sequence[Fate]) -> str:
    more = forecast.added(fates)
    return f"up to {size(more)}" if more else "nothing"


def _count(vmas: Sequence[object]) -> str:
    return f"{len(vmas)} VMA{'' if len(vmas) == 1 else 's'}"


def _paragraph(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
