"""Reads a /proc/PID/smaps that somebody pasted: quoted, indented, wrapped, or cut.

What is no line of smaps is passed over and counted, so that the answer can say on how
much it rests. What is kept grows with the number of mappings, whatever is read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from forktrace.errors import ForktraceError
from forktrace.procfs import SmapsVma
from forktrace.text import printable

_LONGEST_LINE = 32 << 10  # a path has at most 4096 bytes, each written as \ooo
_MOST_BYTES = 512 << 20
_MOST_VMAS = 1 << 18

_MARKS = re.compile(r"[\s>|*#+:]*")
_HEADER = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16})\s+([-r][-w][-x][sp])\s+([0-9a-f]{1,16})\s+"
    r"([0-9a-f]{1,8}:[0-9a-f]{1,8})\s+([0-9]{1,20})(?:\s+(.*))?",
    re.ASCII,
)
_BEGINS = re.compile(r"[0-9a-f]{4,16}-[0-9a-f]{4,16}(?:\s+[-rwxsp]{1,4}\b.*)?")
_FIELD = re.compile(r"([A-Z][A-Za-z_]{1,30}):\s*([0-9]{1,15})(?!\S)(?:\s*kB\b)?")
_UNFINISHED = re.compile(r"[A-Z][A-Za-z_]{1,30}:")
_FLAG = re.compile(r"[a-z0-9?]{2}")
_LEFT_OUT = re.compile(r"[\[(<{]?\s*(?:\.{2,}|…|snip\b.*|cut\b.*)\s*[\])>}]?", re.I)
_KEPT = frozenset(
    [
        "KernelPageSize",
        "Rss",
        "Swap",
        "Anonymous",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
    ]
)


@dataclass(frozen=True)
class Paste:
    """The mappings that could be read whole, and what is amiss with the rest.

    ``dropped`` mappings had no sizes, or were cut; ``cut_begin`` and ``cut_end`` tell
    whether the text begins or ends within one, ``gaps`` how often it was cut between.
    ``unread`` lines are none of smaps. ``more``: another process follows.
    """

    source: str
    vmas: tuple[SmapsVma, ...]
    dropped: int = 0
    cut_begin: bool = False
    cut_end: bool = False
    gaps: int = 0
    unread: int = 0
    more: bool = False

    @property
    def name(self) -> str:
        """What to call it."""
        if self.source == "-":
            return "the pasted text"
        return printable(self.source.rpartition("/")[2])

    @property
    def without_flags(self) -> int:
        """How many mappings have no VmFlags."""
        return sum(not vma.vm_flags for vma in self.vmas)

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing: every process has a stack."""
        stack = any(vma.name == "[stack]" for vma in self.vmas)
        return stack and not (self.cut_begin or self.cut_end or self.gaps)

    def to_json(self) -> dict[str, Any]:
        """Return the published ``paste``, but for its page size."""
        return {
            "source": self.source,
            "mappings": len(self.vmas),
            "dropped": self.dropped,
            "cut_begin": self.cut_begin,
            "cut_end": self.cut_end,
            "gaps": self.gaps,
            "complete": self.complete,
            "without_vm_flags": self.without_flags,
            "unread_lines": self.unread,
            "more_processes": self.more,
        }


def read(source: str) -> Paste:
    """Return what a file, or standard input for ``-``, holds.

    Raises ForktraceError if it cannot be read, or is no smaps.
    """
    with _opened(source) as file:
        reader = _Reader(source)
        for line in _lines(file):
            reader.take(line)
            if reader.more:
                break
        return reader.finish()


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    try:
        if source == "-":
            if sys.stdin is None:
                raise ForktraceError("Standard input is closed.", "Name a file.")
            yield sys.stdin.buffer
        else:
            with open(source, "rb") as file:
                yield file
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ForktraceError(f"{printable(source)} cannot be read: {why}.") from None


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield its lines; of one that is too long, the beginning."""
    left, begins = _MOST_BYTES, True
    while line := file.readline(_LONGEST_LINE):
        left -= len(line)
        if left < 0:
            raise ForktraceError(
                f"The text has more than {_MOST_BYTES >> 20} MiB.",
                "Give the smaps of one process.",
            )
        if begins:
            yield line.decode("utf-8", "backslashreplace")
        begins = line.endswith(b"\n")


@dataclass
class _Mapping:
    """A mapping as far as it was read."""

    header: re.Match[str]
    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    last: str = ""

    @property
    def range(self) -> tuple[int, int]:
        return int(self.header[1], 16), int(self.header[2], 16)

    def vma(self) -> SmapsVma:
        start, end = self.range
        return SmapsVma(
            start=start,
            end=end,
            perms=self.header[3],
            offset=int(self.header[4], 16),
            device=self.header[5],
            inode=int(self.header[6]),
            name=self.name,
            sizes=self.sizes,
            other={},
            vm_flags=self.flags,
        )


class _Reader:
    """Takes line after line."""

    def __init__(self, source: str) -> None:
        self.more = False
        self._source = source
        self._vmas: list[SmapsVma] = []
        self._now: _Mapping | None = None
        self._half = ""
        self._usual_last = ""
        self._end = self._headers = self._dropped = self._gaps = self._unread = 0
        self._fields = self._cut_begin = False

    def take(self, line: str) -> None:
        """Take the next line, whatever it is."""
        text = line[_MARKS.match(line).end() :].rstrip()  # type: ignore[union-attr]
        if not text:
            return
        half, self._half = self._half, ""
        if half and self._understood(f"{half} {text}"):
            return
        self._unread += bool(half)
        if self._understood(text):
            return
        if _BEGINS.fullmatch(text) or _UNFINISHED.fullmatch(text):
            self._half = text
        elif _LEFT_OUT.fullmatch(text):
            self._gaps += self._headers > 0
            self._close(cut=True)
        else:
            self._unread += 1

    def _understood(self, text: str) -> bool:
        if header := _HEADER.fullmatch(text):
            return self._header(header)
        if text.startswith("VmFlags:"):
            return self._flags(text.partition(":")[2], "VmFlags")
        if found := _FIELD.match(text):
            return self._field(found[1], int(found[2]) * 1024)
        # Android's own field, which says what the header says.
        return text.startswith("Name:") or self._continues(text)

    def _continues(self, text: str) -> bool:
        """Take what was wrapped behind a header or behind VmFlags."""
        now = self._now
        if now is None:
            return False
        if not now.last and not now.name and text[0] in "/[":
            now.name = text
        elif not now.last and text == "(deleted)":
            now.name += f" {text}"
        else:
            return now.last == "VmFlags" and self._flags(text)
        return True

    def _header(self, header: re.Match[str]) -> bool:
        found = _Mapping(header, header[7] or "")
        start, end = found.range
        if start >= end:
            return False
        if found.name == "[rollup]":
            raise ForktraceError(
                f"{self._name()} is a smaps_rollup: one sum for all mappings.",
                "Paste /proc/PID/smaps.",
            )
        self._close()
        self._headers += 1
        if start < self._end:
            self.more = True
            return True
        if len(self._vmas) >= _MOST_VMAS:
            raise ForktraceError(
                f"{self._name()} has more than {_MOST_VMAS:,} mappings.",
                "Give the smaps of one process.",
            )
        self._now, self._end = found, end
        return True

    def _field(self, name: str, size: int) -> bool:
        self._fields = True
        if self._now is None:
            self._cut_begin = self._cut_begin or not self._headers
            return True
        self._now.last = name
        if name in _KEPT:
            self._now.sizes[name] = size
        return True

    def _flags(self, text: str, begins: str = "") -> bool:
        words = text.split()
        codes = []
        for word in words:
            if not _FLAG.fullmatch(word):
                break
            codes.append(word)
        if not begins and len(codes) < len(words):
            return False
        self._fields = True
        if self._now is None:
            self._cut_begin = self._cut_begin or not self._headers
        else:
            self._now.last = begins or self._now.last
            self._now.flags |= frozenset(codes)
        return True

    def _close(self, *, cut: bool = False) -> bool:
        """Keep the mapping that ends here; return False if it is not whole."""
        now, self._now = self._now, None
        if now is None:
            return True
        usual = self._usual_last
        if not (now.sizes.keys() & {"Rss"}) or (cut and usual not in ("", now.last)):
            self._dropped += 1
            return False
        self._usual_last = now.last
        self._vmas.append(now.vma())
        return True

    def _name(self) -> str:
        return Paste(self._source, ()).name

    def finish(self) -> Paste:
        """Return all of it; raises ForktraceError if it is no smaps."""
        self._unread += bool(self._half)
        whole = self._close(cut=True)
        if self._headers and not self._fields:
            raise ForktraceError(
                f"{self._name()} is a /proc/PID/maps, which does not say how much "
                "memory a mapping has.",
                "Paste /proc/PID/smaps.",
            )
        if not self._vmas:
            raise ForktraceError(
                f"{self._name()} holds no mapping of a /proc/PID/smaps"
                f"{' that is whole' if self._headers else ''}.",
                "Give the text of /proc/PID/smaps of one process.",
            )
        return Paste(
            source=self._source,
            vmas=tuple(self._vmas),
            dropped=self._dropped,
            cut_begin=self._cut_begin,
            cut_end=not whole,
            gaps=self._gaps,
            unread=self._unread,
            more=self.more,
        )
