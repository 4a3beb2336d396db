"""The story of real programs, and what explain foretold of their forks."""

from __future__ import annotations

from collections.abc import Iterator

from forktrace.views.units import size
from tests.demo.report import Section
from tests.investigations.explained import Comparison, Surprise, compare
from tests.investigations.programs import Found
from tests.investigations.stories.table import table


def sections(found: Found) -> Iterator[Section]:
    """Tell how far explain was off, and list each VMA it was wrong about."""
    pairs = [(each.name, compare(each.explained, each.fork)) for each in found.forked]
    head = ("PROGRAM", "VMAS", "COPIED", "FORETOLD", "TRACED", "OF IT DOUBTED", "APART")
    yield Section(
        f"What explain foretold of the next fork, on {found.kernel}",
        table(head, [_row(name, compared) for name, compared in pairs]),
    )
    surprises = [
        _surprise(name, surprise)
        for name, compared in pairs
        for surprise in compared.surprises
    ]
    columns = ("PROGRAM", "FORETOLD", "TRACED", "TABLES", "DOUBTED", "MAPPING")
    yield Section(
        "VMAs that turned out otherwise",
        table(columns, surprises) if surprises else ("  None.",),
    )


def _row(name: str, compared: Comparison) -> tuple[str, ...]:
    return (
        name,
        str(compared.vmas),
        str(compared.copied),
        size(compared.foretold),
        size(compared.traced),
        size(compared.doubted),
        f"{compared.apart:.1%}",
    )


def _surprise(name: str, surprise: Surprise) -> tuple[str, ...]:
    mapping = surprise.name.rpartition("/")[2] or "anonymous"
    return (
        name,
        surprise.foretold or "-",
        surprise.traced or "-",
        size(surprise.page_table_bytes),
        "yes" if surprise.doubted else "no",
        f"{surprise.start} {mapping}",
    )
