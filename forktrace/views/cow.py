"""What copy-on-write cost after forks: below a fork, and in the text of a report."""

from __future__ import annotations

from collections.abc import Iterator

from forktrace.cow import Cow, CowCost, CowMapping
from forktrace.report.names import ANONYMOUS, NOT_KNOWN
from forktrace.report.study import Study
from forktrace.text import named, printable
from forktrace.views.units import counted, duration, fitting, size

_ROWS = 15
_MAPPINGS = 5
HEADS = ("CHILDREN", "PARENT", "IN", "CHILD", "IN", "SPLITS", "FREED IN")
MAPPING_HEADS = ("PARENT", "IN", "CHILD", "IN")


def cow_lines(cow: Cow) -> list[str]:
    """Return what copy-on-write cost after a fork, to stand below the forks."""
    ended = "called exec" if cow.execs else "ended"
    parents = "is not known: it ended first"
    if cow.parents:
        parents = cow_words(cow.parents)
    return [
        f"    child {cow.pid} of {printable(cow.comm)}[{cow.parent}] {ended} after "
        f"{duration(cow.lived_ns)}; its memory was freed in "
        f"{duration(cow.teardown_ns)}. Copied on write:",
        f"        by the parent {parents}",
        f"        by the child  {cow_words(cow.child)}",
        *_mappings(cow),
    ]


def _mappings(cow: Cow) -> Iterator[str]:
    """Say which mappings cost most, and who wrote to them."""
    for each in cow.mappings[:_MAPPINGS]:
        name = NOT_KNOWN if each.name is None else printable(each.name) or ANONYMOUS
        yield f"        {each.start:#x} {name}: {_both(each)}"
    if len(cow.mappings) > _MAPPINGS or cow.others:
        yield "        and others"


def _both(each: CowMapping) -> str:
    sides = (
        ("parent", each.parents_bytes, each.parents_ns),
        ("child", each.child_bytes, each.child_ns),
    )
    return ", ".join(
        f"{size(copied)} in {duration(took)} by the {who}"
        for who, copied, took in sides
        if copied
    )


def cow_words(cost: CowCost) -> str:
    """Say what write faults copied, and which huge pages they split."""
    if not cost.faults:
        return "nothing"
    faults = counted(cost.faults, "fault")
    said = f"{size(cost.copied_bytes)} in {duration(cost.copy_ns)} ({faults})"
    if cost.splits:
        said += (
            f", {counted(cost.splits, 'huge page')} split in {duration(cost.split_ns)}"
        )
    return said


def lines(study: Study, width: int) -> list[str]:
    """Return two tables; nothing where it was not recorded."""
    if not study.cow:
        return []
    return [
        "",
        "Copied on write until the child ended, and how long freeing its memory took:",
        _row("COMM", HEADS, _WIDTHS),
        *_groups(study),
        "",
        "Copied on write, by mapping:",
        _row("COMM", MAPPING_HEADS, _WIDTHS[1:5]) + "  MAPPING",
        *_shares(study, width),
    ]


_WIDTHS = (8, 9, 7, 9, 7, 6, 8)


def _row(comm: str, cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths))
    return f"{comm[:15]:<15} {' '.join(padded)}"


def _groups(study: Study) -> Iterator[str]:
    for group in study.cow[:_ROWS]:
        cells = (
            f"{group.children:,}",
            size(group.parents.copied_bytes),
            duration(group.parents.copy_ns),
            size(group.child.copied_bytes),
            duration(group.child.copy_ns),
            f"{group.parents.splits + group.child.splits:,}",
            duration(group.teardown_ns),
        )
        yield _row(named(group.comm), cells, _WIDTHS)
    if len(study.cow) > _ROWS:
        yield f"{len(study.cow) - _ROWS:,} more are in --json."


def _shares(study: Study, width: int) -> Iterator[str]:
    for share in study.cow_mappings[:_ROWS]:
        cells = (
            *(size(share.parents_bytes), duration(share.parents_ns)),
            *(size(share.child_bytes), duration(share.child_ns)),
        )
        row = _row(named(share.comm), cells, _WIDTHS[1:5])
        yield f"{row}  {fitting(printable(share.mapping), width - len(row) - 2)}"
    if len(study.cow_mappings) > _ROWS:
        yield f"{len(study.cow_mappings) - _ROWS:,} more are in --json."
