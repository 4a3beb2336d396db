"""Names of a process's mappings, from /proc/PID/maps, for the VMAs of one fork."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from forktrace.cow import Cow
from forktrace.model import Fork
from forktrace.text import encodable

PROC = Path("/proc")

Span = tuple[int, int]
"""A mapping's first address, and the one after its last."""

# start-end perms offset device inode, and a name that may hold spaces.
_MAPPING = re.compile(
    r"^(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16})(?: +\S+){4}"
    r"(?: +(?P<name>\S.*)| *)$",
    re.MULTILINE,
)


def mapping_names(fork: Fork, proc: Path = PROC) -> dict[int, str]:
    """Return the names of the parent's mappings by their first address.

    Best effort: a mapping is named when it still begins and ends where the fork met
    it. Empty when the parent is gone.
    """
    wanted = {vma.start: vma.end for vma in fork.details or ()}
    try:
        raw = (proc / str(fork.pid) / "maps").read_bytes()
    except OSError:
        return {}
    return {
        start: name
        for (start, end), name in _mappings(raw)
        if name and wanted.get(start) == end
    }


def with_names(cow: Cow, proc: Path = PROC) -> Cow:
    """Return it with the names that its parent's mappings have now.

    Best effort: the mapping that holds the address now. None when the parent is gone.
    """
    try:
        raw = (proc / str(cow.parent) / "maps").read_bytes()
    except OSError:
        return cow
    spans = list(_mappings(raw))
    ends = [end for (_, end), _ in spans]

    def name(start: int) -> str | None:
        # The file is in the order of addresses.
        at = bisect_right(ends, start)
        if at == len(spans):
            return None
        (first, _), name = spans[at]
        return name if first <= start else None

    named = (replace(each, name=name(each.start)) for each in cow.mappings)
    return replace(cow, mappings=tuple(named))


def names_by_span(raw: bytes) -> Mapping[Span, str]:
    """Return the name of every mapping of a maps file, "" for anonymous memory."""
    return dict(_mappings(raw))


def _mappings(raw: bytes) -> Iterator[tuple[Span, str]]:
    for line in _MAPPING.finditer(os.fsdecode(raw)):
        span = int(line["start"], 16), int(line["end"], 16)
        yield span, encodable(line["name"] or "")
