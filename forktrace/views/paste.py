"""What ``explain --smaps`` says of the text: what it rests on, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from forktrace.explain.machines import base_page
from forktrace.explain.paste import Paste
from forktrace.explain.predict import Forecast
from forktrace.views.units import size


def sentences(paste: Paste, forecast: Forecast) -> Iterator[str]:
    """Yield them one by one."""
    if base_page(paste.vmas) is None:
        yield "No mapping tells the size of base pages: 4 KiB is taken."
    machine = forecast.tables.geometry
    entries, leaf = machine.leaf // machine.page, size(machine.leaf)
    names = dict.fromkeys(
        each.geometry.name for each in (forecast.tables, *forecast.process.seen.others)
    )
    first = f" of {machine.name}" if len(names) > 1 else ""
    yield (
        "The bytes are an estimate: smaps does not say where in a mapping its memory "
        f"lies. Pages are of {size(machine.page)} ({', or '.join(names)}); a page "
        f"table{first} has {entries:,} entries, for {leaf} of addresses."
    )
    yield from _cut(paste)
    if paste.more:
        yield "Another process follows, or the same again: only the first is studied."
    if paste.unread:
        lines = "1 line was" if paste.unread == 1 else f"{paste.unread:,} lines were"
        yield f"{lines} passed over: not of smaps."


def _cut(paste: Paste) -> Iterator[str]:
    whole = f"{_mappings(len(paste.vmas))} read whole"
    where = []
    if paste.cut_begin:
        where.append("the first one dropped")
    if paste.gaps:
        where.append(f"others left out in {_count(paste.gaps, 'place')}")
    if paste.cut_end:
        where.append("the last one dropped")
    if where:
        said = ", ".join([whole, *where])
        yield f"The paste is cut: {said}. All figures are of these alone."
    elif not paste.complete:
        yield f"{whole}; no [stack] is among them, so it is a part of a process."
    lost = paste.dropped - paste.cut_end
    if lost > 0:
        were = "was" if lost == 1 else "were"
        yield f"{_mappings(lost)} without sizes {were} dropped."


def _mappings(count: int) -> str:
    return _count(count, "mapping")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
