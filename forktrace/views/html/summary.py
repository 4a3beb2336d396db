"""What the page says first: the verdict, what is missing, and the main numbers."""

from __future__ import annotations

from html import escape

from forktrace.report.study import Study
from forktrace.text import printable
from forktrace.views.units import duration, size
from forktrace.views.verdict import verdict


def summary(study: Study, title: str) -> str:
    """Return what stands above the sections."""
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
        f'<p class="verdict">{escape(verdict(study))}</p>\n'
        f'{said}<div class="tiles">\n{tiles}</div>'
    )


def _tiles(study: Study) -> list[tuple[str, str]]:
    seconds = max(study.span_ns / 1e9, 1e-9)
    whole = study.durations
    tiles = [
        (
            f"{study.forks:,}",
            f"{_forks(study.forks)}, {_rate(study.forks / seconds)} a second",
        )
    ]
    if not study.forks:
        return tiles
    tiles += [
        (duration(whole.quantile(0.5)), "p50"),
        (duration(whole.quantile(0.99)), "p99"),
        (duration(whole.highest), "the longest"),
        (size(study.page_table_bytes), "of page tables copied"),
    ]
    if study.pinned_bytes:
        tiles.append((size(study.pinned_bytes), "of pinned pages copied"))
    waste = study.exec_discards
    share = waste.copy_ns / max(study.copies.sum, 1)
    if share >= 0.005:
        tiles.append((f"{share:.0%}", "of copying thrown away by exec"))
    if study.failed:
        tiles.append((f"{study.failed:,}", f"{_forks(study.failed)} failed"))
    return tiles


def _forks(count: int) -> str:
    return "fork" if count == 1 else "forks"


def _rate(value: float) -> str:
    """Return three digits, and thousands in full."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
