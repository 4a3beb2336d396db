"""``forktrace report``: what a recording shows, as text, JSON or a page with plots."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forktrace.errors import ForktraceError, Unsupported, UsageError
from forktrace.model import SCHEMA
from forktrace.packages import install
from forktrace.recording.progress import ProgressLine
from forktrace.recording.reader import STANDARD, Recording, end_of, spoken
from forktrace.report.aggregate import Aggregator
from forktrace.report.choice import ALL, Choice
from forktrace.report.order import COST
from forktrace.report.study import CUT_OFF, Study
from forktrace.views import compare as comparison
from forktrace.views import report as view
from forktrace.views.colour import print_lines
from forktrace.views.html import PAGE_START


@dataclass(frozen=True)
class Options:
    """Which forks of a recording are shown, and how.

    ``limit`` is how many rows a table has at most; None leaves it to the table.
    """

    choice: Choice = ALL
    sort: str = COST
    limit: int | None = None


def report(
    path: Path, options: Options = Options(), *, as_json: bool, html: Path | None
) -> int:
    """Print the report, or write it as HTML; return the exit status."""
    if html:
        _check_plotly()
        _check_page(html)
    study = read(path, options)
    say_missing(path, study.ended == CUT_OFF, study)
    if html:
        _write_page(study, html, options.limit)
    if as_json:
        print(json.dumps(study.to_json(), indent=2))
    elif not html:
        print_lines(view.lines(study, _width(), options.limit))
    return 0


def compare(
    before: Path,
    after: Path,
    options: Options = Options(),
    *,
    as_json: bool,
    html: Path | None,
) -> int:
    """Print what changed from one recording to another; return the exit status."""
    if html:
        raise UsageError("--html takes one recording.", "Leave the other one out.")
    if before == after == STANDARD:
        raise UsageError(
            "Only one recording can come from standard input.",
            "Name a file for the other.",
        )
    studies = []
    for path in (before, after):
        studies.append(read(path, options))
        say_missing(path, studies[-1].ended == CUT_OFF, studies[-1])
    if as_json:
        both = {"before": studies[0].to_json(), "after": studies[1].to_json()}
        print(json.dumps({"schema": SCHEMA, **both}, indent=2))
    else:
        print_lines(comparison.lines(studies[0], studies[1], options.limit))
    return 0


def say_missing(path: Path, cut: bool, read: Study | Recording) -> None:
    """Say what of the recording is not in the report."""
    for said in _missing(path, cut, read):
        print(f"forktrace: {said}", file=sys.stderr)


def _missing(path: Path, cut: bool, read: Study | Recording) -> Iterator[str]:
    if cut:
        yield f"{spoken(path)} was cut off; this is what it holds up to there."
    if read.left_out:
        lines = "1 line was" if read.left_out == 1 else f"{read.left_out:,} lines were"
        yield f"{lines} left out: longer than any that forktrace record writes."
    if read.unkept:
        yield (
            f"{read.unkept:,} VMAs and names were too many to keep; the VMAs that "
            "took longest to copy are."
        )


def read(path: Path, options: Options = Options()) -> Study:
    """Return the study of a recording; raises ForktraceError."""
    choice = chosen(path, options.choice)
    progress = ProgressLine(sys.stderr)
    with Recording(path) as recording:
        try:
            return Aggregator(recording, choice, options.sort).study(
                lambda forks: progress.show(forks, f"{recording.share_read:.0%} read")
            )
        finally:
            progress.clear()


def chosen(path: Path, choice: Choice) -> Choice:
    """Return a choice with the time that the last minutes of a recording begin at.

    To be called before it is read: from then on Ctrl-C ends a recorder alone that
    writes to our standard input.
    """
    if path == STANDARD:
        _outlive_ctrl_c()
    if choice.last_ns is None:
        return choice
    if path == STANDARD or path.is_fifo():
        raise UsageError(
            "Only the end of a recording tells when its last minutes began, and "
            "a pipe can be read but once.",
            "Keep it in a file, or give --since a time.",
        )
    return choice.at(end_of(path))


def _outlive_ctrl_c() -> None:
    """Let the first Ctrl-C end the recorder before us in the pipe alone."""
    signal.signal(
        signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )


def _width() -> int:
    return max(80, min(110, shutil.get_terminal_size((80, 24)).columns)) - 1


def _check_plotly() -> None:
    """Raise Unsupported where plotly is not: Debian's package only recommends it."""
    if importlib.util.find_spec("plotly") is None:
        raise Unsupported("plotly is missing (it draws the plots)", install("plotly"))


def _check_page(path: Path) -> None:
    """Raise UsageError if what is at ``path`` is no page of an earlier report."""
    if path == STANDARD:
        raise UsageError(
            "The page is written to a file.", "Name it: --html page.html, /dev/stdout"
        )
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with path.open("rb") as file:
            ours = PAGE_START.encode() in file.read(1024)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", "Name another file."
        ) from None
    if not ours:
        raise UsageError(
            f"{path} exists and is no page that forktrace wrote.",
            "Name another file.",
        )


def _write_page(study: Study, path: Path, rows: int | None) -> None:
    # Only here: plotly takes a while to import.
    from forktrace.views.html.page import page  # noqa: PLC0415

    try:
        if path.exists() and not path.is_file():  # /dev/stdout
            path.write_text(page(study, rows), encoding="utf-8")
        else:
            _replace(path.resolve(), page(study, rows))
    except OSError as error:
        raise ForktraceError(
            f"Writing {path} failed: {error.strerror}.", "Name a file elsewhere."
        ) from None
    print(f"Wrote {path}; open it in a browser.", file=sys.stderr)


def _replace(path: Path, text: str) -> None:
    """Write a file, which stays what it was if that fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
