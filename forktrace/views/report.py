"""What ``report`` says to a person: the answer first, then why, then who and which."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from forktrace.model import Vforks, Vma
from forktrace.report.names import ANONYMOUS, NOT_KNOWN, OTHER
from forktrace.report.spread import TEXT_EDGES, Bin, Spread
from forktrace.report.study import CUT_OFF, QUANTILES, Dear, Group, Study
from forktrace.text import named, printable
from forktrace.views import callers, cow, parts, vforks
from forktrace.views.lines import (
    counts_words,
    in_thread,
    pinned_words,
    trigger_table,
    vfork_words,
    with_pages,
    without_cpu,
)
from forktrace.views.units import duration, fitting, size
from forktrace.views.verdict import verdict

_ROWS = 15
# No kernel has so many; a file may say anything.
_TRIGGERS = 100
_MAPPINGS = 6
_BAR = 36

ENDINGS = {
    "stopped": "was stopped by hand",
    "command": "ended with its command",
    "duration": "ended after --duration",
    "count": "ended after --count forks",
    "max_size": "ended at --max-size",
    "disk": "ended because the disk was full",
    CUT_OFF: "was cut off: its last second may be missing",
}
"""How a recording ended, to follow "The recording"."""


def lines(study: Study, width: int = 79, limit: int | None = None) -> list[str]:
    """Return the whole report; ``limit`` is how many rows a table has at most."""
    rows = limit or _ROWS
    study = study.of_rows(limit)
    return [
        *_wrapped(verdict(study), width),
        "",
        *header(study),
        *_latency(study, width),
        *_triggers(study, limit or _TRIGGERS),
        *_pinned(study, width),
        *_groups("COMM", 15, study.processes, rows),
        *_groups("CGROUP", 30, study.cgroups, rows),
        *_execs(study),
        *_failures(study, rows),
        *_vforks(study, width),
        *cow.lines(study, width),
        *callers.tree(study, width),
        *_costliest(study, width, limit or _MAPPINGS),
    ]


def header(study: Study) -> list[str]:
    """Say where, when and how was recorded, what is missing, and how it ended."""
    head = study.header
    began = datetime.fromtimestamp(head.time_ns // 10**9, timezone.utc)
    said = [
        f"Linux {printable(head.release)} ({printable(head.arch)}) on "
        f"{printable(head.host)}, from {began:%Y-%m-%d %H:%M:%S} UTC.",
        f"Rule: {printable(head.rule.words)}; read from "
        f"{printable(head.rule.read_from)}.",
        f"Probes: {printable(head.attach)}, decisions from "
        f"{printable(head.decision)}. {chosen(study)}",
        *([shown(study)] if study.choice else []),
        f"The recording {ENDINGS.get(study.ended, 'ended')}.",
    ]
    if study.unwritten:
        said.append(f"Lost: {study.unwritten:,} forks no longer fitted into the file.")
    if study.lost:
        told = ", ".join(
            f"{n} at {printable(stage)}" for stage, n in study.lost.items()
        )
        said.append(f"Lost: {told}.")
    if study.host and study.host.checks.get("disagree"):
        said.append(
            f"Kernel and rule disagreed on {study.host.checks['disagree']} VMAs."
        )
    return said


def chosen(study: Study) -> str:
    """Say which forks were recorded."""
    filters = study.header.filters
    parts = []
    if filters.command:
        words = printable(shlex.join(filters.command))
        parts.append(f"{words} and its descendants")
    if filters.pids:
        parts.append(f"pid {_or(map(str, filters.pids))}")
    if filters.comms:
        parts.append(f"name {_or(repr(printable(comm)) for comm in filters.comms)}")
    if filters.cgroups:
        parts.append(f"cgroup {_or(map(printable, filters.cgroups))}")
    if filters.min_duration_ns:
        parts.append(f"at least {duration(filters.min_duration_ns)}")
    if not parts:
        return "Every fork was recorded."
    every = f" of {study.host.forks:,} on the host" if study.host else ""
    return f"Recorded{every}: {', '.join(parts)}."


def shown(study: Study) -> str:
    """Say which of the recorded forks the report is about, and what is about all."""
    choice, parts = study.choice, []
    if choice.comms:
        parts.append(f"name {_or(repr(printable(comm)) for comm in choice.comms)}")
    if choice.since_ns:
        since = datetime.fromtimestamp(choice.since_ns // 10**9, timezone.utc)
        parts.append(f"since {since:%Y-%m-%d %H:%M:%S} UTC")
    return (
        f"Shown: {study.forks:,} of {study.recorded:,} forks, {', '.join(parts)}; what "
        "was lost is told of all."
    )


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _latency(study: Study, width: int) -> list[str]:
    if not study.forks:
        return []
    bins = study.durations.bins(TEXT_EDGES)
    most = max(each.count for each in bins)
    return [
        "",
        _quantiles("Whole forks", study.durations),
        _quantiles("of it copying", study.copies),
        *(_wrapped(f"{parts.shares(study.parts)}.", width) if study.parts else []),
        "",
        f"  {'FROM':>8}  {'TO':>8}  {'FORKS':>9}",
        *(_bar(each, most) for each in bins),
    ]


def _quantiles(what: str, spread: Spread) -> str:
    told = "  ".join(
        f"{name} {duration(spread.quantile(share))}"
        for name, share in QUANTILES.items()
    )
    return f"{what:<14} {told}  max {duration(spread.highest)}"


def _bar(each: Bin, most: int) -> str:
    # Something that happened is never drawn as nothing.
    length = max(1, round(_BAR * each.count / most)) if each.count else 0
    row = f"  {duration(each.low):>8}  {duration(each.high):>8}  {each.count:>9,}"
    return f"{row}  {'#' * length}".rstrip()


def _triggers(study: Study, rows: int) -> list[str]:
    table = trigger_table(
        [
            replace(cost, trigger=fitting(printable(cost.trigger), 40))
            for cost in study.triggers[:rows]
        ]
    )
    said = [
        "",
        f"VMAs: {counts_words(study.vmas)}; "
        f"{size(study.page_table_bytes)} of page tables.",
    ]
    return [*said, "", *table] if table else said


def _pinned(study: Study, width: int) -> list[str]:
    if not study.pinned_bytes:
        return []
    return ["", *_wrapped(pinned_words(study.pinned_bytes), width)]


def _groups(title: str, wide: int, groups: Sequence[Group], rows: int) -> list[str]:
    if not groups:
        return []
    said = [
        "",
        f"{title:<{wide}} {'FORKS':>8} {'FORK':>7} {'MAX':>7} {'COPY':>7} "
        f"{'TABLES':>8}  COPIED BY",
    ]
    for group in groups[:rows]:
        name = fitting(named(group.name), wide)
        said.append(
            f"{name:<{wide}} {group.forks:>8,} {duration(group.durations.sum):>7} "
            f"{duration(group.durations.highest):>7} {duration(group.copy_ns):>7} "
            f"{size(group.page_table_bytes):>8}  {causes(group)}".rstrip()
        )
    if len(groups) > rows:
        rest = groups[rows:]
        names = sum(group.names for group in rest)
        copied = duration(sum(group.copy_ns for group in rest))
        said.append(f"and {names:,} more, which copied for {copied}")
    return said


def causes(group: Group) -> str:
    """Name a group's triggers with their shares of the time, the dearest first."""
    whole = sum(group.triggers.values())
    return ", ".join(
        f"{printable(name)} {ns / whole:.0%}"
        for name, ns in group.triggers.items()
        if whole and ns / whole >= 0.005
    )


def _execs(study: Study) -> list[str]:
    waste = study.exec_discards
    if not waste.discards:
        return []
    return [
        "",
        f"{waste.discards:,} of {study.forks - study.failed:,} children threw their "
        "copies away by exec:",
        f"{duration(waste.copy_ns)} and {size(waste.page_table_bytes)} of page tables "
        "for nothing. posix_spawn or vfork would save that.",
    ]


def _failures(study: Study, rows: int) -> list[str]:
    if not study.failures:
        return []
    took = sum(each.duration_ns for each in study.failures)
    said = [
        "",
        f"{study.failed:,} of {study.forks:,} forks failed. A fork that fails may cost "
        f"as much as one that works: they took {duration(took)}.",
        f"  {'FORKS':>8}  {'TIME':>8}  {'ERRNO':<14}  {'COMM':<15}  CGROUP",
    ]
    for each in study.failures[:rows]:
        said.append(
            f"  {each.forks:>8,}  {duration(each.duration_ns):>8}  "
            f"{printable(each.errno):<14}  {named(each.comm):<15}  "
            f"{printable(each.cgroup)}"
        )
    if len(study.failures) > rows:
        rest = study.failures[rows:]
        said.append(f"  and {sum(each.forks for each in rest):,} more")
    return said


def _vforks(study: Study, width: int) -> list[str]:
    # Of the host's there are sums alone, with no name and no time.
    every = study.host.vforks if study.host and not study.choice else Vforks()
    said = []
    if every.calls:
        said += ["", *_wrapped(f"On the host: {vfork_words(every)}", width)]
    if study.vforks:
        said += ["", *_wrapped(f"{vforks.recorded_words(study)}:", width)]
    return said + vforks.longest(study)


def _costliest(study: Study, width: int, rows: int) -> list[str]:
    if not study.costliest:
        return []
    said = ["", "The most expensive forks:"]
    for number, dear in enumerate(study.costliest, 1):
        said += ["", *_dear(number, dear, width, rows)]
    return said


def _dear(number: int, dear: Dear, width: int, rows: int) -> Iterator[str]:
    fork = dear.fork
    began = datetime.fromtimestamp(fork.time_ns // 10**9, timezone.utc)
    clock = f"{began:%H:%M:%S}.{fork.time_ns // 10**6 % 1000:03d}"
    counts = fork.vmas
    ok = fork.outcome == "ok"
    ended = f" -> {fork.child_pid}" if ok else f" {printable(fork.errno or '?')}"
    yield (
        f"{number:>2}. {duration(fork.duration_ns)} at {clock} by "
        f"{named(fork.comm)}[{fork.pid}]{in_thread(fork)}{ended} "
        f"in {printable(fork.cgroup)}"
    )
    yield (
        f"    {duration(fork.copy_ns)} copying {counts.copy} of {counts.every} VMAs, "
        f"{size(fork.page_table_bytes)} of page tables{with_pages(fork)}"
    )
    if fork.parts:
        spent = f"{parts.shares(vars(fork.parts))}{without_cpu(fork)}"
        yield from _wrapped(spent, width, "    ")
    copied = copied_vmas(dear)
    if not copied:
        return
    yield f"    {'COPY':>8}  {'TABLES':>8}  {'SIZE':>8}  {'WHY':<11}  MAPPING"
    for vma in copied[:rows]:
        row = (
            f"    {duration(vma.copy_ns):>8}  {size(vma.page_table_bytes):>8}  "
            f"{size(vma.end - vma.start):>8}  {printable(vma.trigger or ''):<11}  "
            f"{vma.start:x} {permissions(vma)} "
        )
        row += with_pages(vma).lstrip() + " " if vma.pinned_bytes else ""
        yield row + fitting(mapping(dear, vma), max(8, width - len(row)))
    rest = copied[rows:]
    if rest:
        cost = duration(sum(vma.copy_ns for vma in rest))
        tables = size(sum(vma.page_table_bytes for vma in rest))
        yield f"    and {len(rest)} more: {cost}, {tables}"


def copied_vmas(dear: Dear) -> list[Vma]:
    """Return the VMAs that were copied, first those that took most time on a CPU."""
    copied = [vma for vma in dear.fork.details or () if vma.decision == "copy"]
    return sorted(copied, key=lambda vma: (-vma.run_ns, vma.start))


def mapping(dear: Dear, vma: Vma) -> str:
    """Return the name of a mapping."""
    return printable(dear.names.get(vma.start, NOT_KNOWN) or ANONYMOUS)


def permissions(vma: Vma) -> str:
    """Return a VMA's permissions as /proc/PID/maps writes them."""
    letters = (("read", "r"), ("write", "w"), ("exec", "x"))
    allowed = "".join(letter if name in vma.flags else "-" for name, letter in letters)
    return allowed + ("s" if "shared" in vma.flags else "p")


def group_label(group: Group) -> str:
    """Return the name of a group, or what it gathers."""
    return f"{group.names:,} other names" if group.name == OTHER else named(group.name)
