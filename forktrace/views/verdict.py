"""The first sentence of a report: what forks cost, why, whose they are, what to do."""

from __future__ import annotations

from collections import Counter

from forktrace.report.study import Study
from forktrace.text import named, printable
from forktrace.views import parts
from forktrace.views.advice import advice
from forktrace.views.units import counted, duration, size

_ALL = 0.995  # it would be told as 100%
_WORTH = 0.2
"""A share of children that called exec from which it is worth a word."""


def verdict(study: Study) -> str:
    """Say it in some sentences."""
    seconds = span(study)
    if not study.forks and study.recorded:
        return f"No fork is shown: none of the {study.recorded:,} recorded matched."
    if not study.forks:
        return f"In {seconds}, no fork was recorded."
    forks, took = counted(study.forks, "fork"), duration(study.durations.sum)
    said = f"In {seconds}, {forks} took {took} in all{_spent(study)}."
    pinned, discarded = _pinned(study), _discarded(study)
    more = [] if pinned or discarded else advice(study)
    return " ".join([said, *pinned, *_failed(study), *discarded, *more])


def _spent(study: Study) -> str:
    """Name the largest part of the time, whatever it is, and copying with its cause."""
    whole, copied = study.durations.sum, study.copies.sum
    most, said = parts.largest(study.parts), ""
    if most not in (None, "copy"):
        share = study.parts[most] / sum(study.parts.values())
        said = f"; {share:.0%} of it {parts.WORDS[most]}"
    if not copied:
        return f"{said}; no page table had to be copied"
    return (
        f"{said}; {copied / max(whole, 1):.0%} of it copying page tables{_why(study)}"
    )


def _why(study: Study) -> str:
    """Name the trigger that most copying was for, and whose it mostly was."""
    by_trigger: Counter[str] = Counter()
    for cost in study.triggers:
        by_trigger[cost.trigger] += cost.copy_ns
    ((trigger, cost_ns),) = by_trigger.most_common(1) or [("", 0)]
    if not cost_ns:
        return ""
    part = cost_ns / study.copies.sum
    told = "" if part >= _ALL else f"{part:.0%} of that "
    group = max(study.processes, key=lambda each: each.triggers.get(trigger, 0))
    share = group.triggers.get(trigger, 0) / cost_ns
    name = named(group.name)
    whose = f"in {name}" if share >= _ALL else f"({share:.0%} of it in {name})"
    return f", {told}because of {printable(trigger)} {whose}"


def _pinned(study: Study) -> list[str]:
    """Name pinned memory where copying it must have taken a good part of the time.

    As many bytes of page tables stand for more work: each entry is looked at.
    """
    if study.pinned_bytes < max(study.page_table_bytes, 1):
        return []
    group = max(study.processes, key=lambda each: each.pinned_bytes)
    share = group.pinned_bytes / study.pinned_bytes
    whose = "" if share >= _ALL else f"{share:.0%} of it "
    return [
        f"They copied {size(study.pinned_bytes)} of pinned pages as well, {whose}in "
        f"{named(group.name)}: use madvise(MADV_DONTFORK) on the buffers."
    ]


def _failed(study: Study) -> list[str]:
    if not study.failures:
        return []
    first = study.failures[0]
    mostly = f"mostly with {printable(first.errno)} in {named(first.comm)}"
    return [f"{study.failed:,} of them failed, {mostly}."]


def _discarded(study: Study) -> list[str]:
    made = study.forks - study.failed
    share = study.exec_discards.discards / max(made, 1)
    if share < _WORTH:
        return []
    return [
        f"{min(share, 1):.0%} of the children threw their copies away by exec: use "
        "posix_spawn or vfork there."
    ]


def span(study: Study) -> str:
    """Return how long was recorded, in whole units where it was long."""
    seconds = study.span_ns / 1e9
    if seconds < 120:
        return duration(study.span_ns)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
