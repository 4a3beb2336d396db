"""Takes a line that is too long to be read at once apart, in the form record writes.

Only two kinds of lines grow with a process: a fork with its VMAs, and the names of
mappings. Their long part stands last, in one list or object, whose entries are read a
batch at a time. So the memory that a line takes does not depend on what is in it.
"""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from forktrace.model import Fork, Vma
from forktrace.recording.records import Mappings

MOST_VMAS = 65_536
"""Of a fork with more VMAs, those are kept that took longest to copy.

vm.max_map_count is 65,530 unless somebody raises it.
"""

_MOST_NAME_BYTES = 16 << 20
_MOST_WORDS = 4096
_LONGEST_ENTRY = 1 << 20
_NO_FORM = "it is long, and not in the form that record writes"

_decode = json.JSONDecoder().decode


def read_long(pieces: Iterator[bytes]) -> tuple[Fork | Mappings, int]:
    """Return what a line holds, and how many VMAs or names were too many to keep.

    Raises ValueError, KeyError, TypeError, AttributeError or RecursionError where the
    line is damaged.
    """
    first = next(pieces)
    head, found, rest = first.partition(b'"details":[')
    if found:
        record = _decode(f"{head.decode()}{found.decode()}]}}")
        if record["type"] != "fork":
            raise ValueError(_NO_FORM)
        fork = Fork.from_json(record)
        return _with_vmas(fork, _entries(rest, pieces, b"},{", "[", "]"))
    head, found, rest = first.partition(b'"names":{')
    if not found:
        raise ValueError(_NO_FORM)
    record = _decode(f"{head.decode()}{found.decode()}}}}}")
    if record["type"] != "mappings":
        raise ValueError(_NO_FORM)
    mappings = Mappings.from_json(record)
    return _with_names(mappings, _entries(rest, pieces, b'","0x', "{", "}"))


def _entries(
    rest: bytes, pieces: Iterator[bytes], between: bytes, opening: str, closing: str
) -> Iterator[Any]:
    """Yield lists or objects that hold some entries each.

    ``between`` begins with the last byte of an entry and the comma behind it.
    """
    for piece in pieces:
        rest += piece
        cut = rest.rfind(between)
        if cut >= 0:
            yield _decode(f"{opening}{rest[: cut + 1].decode()}{closing}")
            rest = rest[cut + 2 :]
        if len(rest) > _LONGEST_ENTRY:
            raise ValueError(_NO_FORM)
    if not rest.endswith(f"{closing}}}".encode()):
        raise ValueError(_NO_FORM)
    yield _decode(f"{opening}{rest[:-1].decode()}")


def _with_vmas(fork: Fork, batches: Iterable[list[Any]]) -> tuple[Fork, int]:
    every = 0

    def vmas() -> Iterator[Vma]:
        nonlocal every
        words = _Words()
        for batch in batches:
            every += len(batch)
            yield from map(Vma.from_json, map(words.shared, batch))

    kept = heapq.nlargest(MOST_VMAS, vmas(), key=lambda vma: vma.copy_ns)
    kept.sort(key=lambda vma: vma.start)
    return replace(fork, details=tuple(kept)), every - len(kept)


def _with_names(
    mappings: Mappings, batches: Iterable[dict[str, Any]]
) -> tuple[Mappings, int]:
    """Add the names; where they are too much, none is known rather than some."""
    names: dict[int, str] = {}
    one_of_each: dict[str, str] = {}
    left_out = size = 0
    for batch in batches:
        more = Mappings.from_json({"pid": mappings.pid, "names": batch}).names
        if left_out or size > _MOST_NAME_BYTES:
            left_out += len(more) + len(names)
            names, one_of_each = {}, {}
            continue
        for start, name in more.items():
            known = one_of_each.setdefault(name, name)
            size += sys.getsizeof(start) + (sys.getsizeof(name) if known is name else 0)
            names[start] = known
    return Mappings(mappings.pid, names), left_out


class _Words:
    """Keeps one of each word: a million VMAs have few, and as many copies of each."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def shared(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a VMA's record with words that the ones before it have, too."""
        record["flags"] = self._one(tuple(record["flags"]))
        for name in ("decision", "source", "trigger"):
            record[name] = self._one(record[name])
        return record

    def _one(self, word: Any) -> Any:
        known = self._known.setdefault(word, word)
        if len(self._known) > _MOST_WORDS:
            raise ValueError("its VMAs have more different flags than any kernel")
        return known
