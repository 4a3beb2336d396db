"""``forktrace report --csv``: one table of a report, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from forktrace.model import Fork
from forktrace.recording.reader import Recording
from forktrace.report.choice import Chosen
from forktrace.report.command import Options, chosen, read, say_missing
from forktrace.report.study import CUT_OFF
from forktrace.vforks import Vfork
from forktrace.views import tables

FORKS, VFORKS = "forks", "vforks"


def report(path: Path, table: str, options: Options) -> int:
    """Print a table of a recording; return the exit status."""
    if table in (FORKS, VFORKS):
        _print_each(path, table, options)
        return 0
    study = read(path, options)
    say_missing(path, study.ended == CUT_OFF, study)
    _say_none(study.forks, study.recorded)
    heads, rows = tables.SUMS[table]
    _print(heads, rows(study), options.limit)
    return 0


def _print_each(path: Path, table: str, options: Options) -> None:
    """Print a row for each fork, or vfork, as it is read."""
    found = 0

    def rows() -> Iterator[tables.Row]:
        nonlocal found
        for record in choosing.of(recording.records()):
            if isinstance(record, Fork):
                found += 1
                if table == FORKS:
                    yield tables.fork_row(record)
            elif isinstance(record, Vfork) and table == VFORKS:
                yield tables.vfork_row(record)

    choosing = Chosen(chosen(path, options.choice))
    with Recording(path) as recording:
        heads = tables.FORKS if table == FORKS else tables.VFORKS
        every = _print(heads, rows(), options.limit)
        if every:
            say_missing(path, recording.cut, recording)
    if every and table == FORKS:
        _say_none(found, choosing.forks)


def _print(heads: tables.Row, rows: Iterable[tables.Row], limit: int | None) -> bool:
    """Print a table; tell whether that was all of it."""
    output = csv.writer(sys.stdout, lineterminator="\n")
    output.writerow(heads)
    left = iter(rows)
    output.writerows(map(tables.harmless, islice(left, limit)))
    return next(left, None) is None


def _say_none(forks: int, recorded: int) -> None:
    if recorded and not forks:
        print(
            f"forktrace: No fork is shown: none of the {recorded:,} recorded matched.",
            file=sys.stderr,
        )
