"""Reads a recording line by line, in little memory, and trusts nothing in it."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Union

from forktrace.cow import Cow
from forktrace.errors import ForktraceError, UsageError
from forktrace.fields import time_of
from forktrace.model import Exec, Fork
from forktrace.recording.long_lines import read_long
from forktrace.recording.records import (
    FORMAT,
    VERSION,
    Header,
    Mappings,
    Progress,
    Summary,
)
from forktrace.vforks import Vfork

Record = Union[Fork, Mappings, Exec, Vfork, Cow, Progress, Summary]

_CHUNK = 256 << 10
_LONGEST_HEADER = 64 << 10
# What is longer than this is taken apart: values made of JSON may be 30 times as large.
_WHOLE_LINE = 1 << 20
# A VMA takes some 250 bytes, at most 400: the 65,530 that are usually allowed 26 MB at
# most. Some distributions set vm.max_map_count to a million.
_LONGEST_LINE = 256 << 20
# How a line begins that tells how far the recording had come.
_TIMED = (b'"header"', b'"progress"', b'"summary"')
_BEGINNING = 40
STANDARD = Path("-")
"""Stands for standard input, and standard output, where a file could be named."""
_WHAT_FITS = "forktrace report reads what forktrace record -o FILE wrote."

# Of a million lines, finding out their encoding would take a while.
_decode = json.JSONDecoder().decode

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What a line that is not ours comes to."""

_READ: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "fork": Fork.from_json,
    "mappings": Mappings.from_json,
    "exec": Exec.from_json,
    "vfork": Vfork.from_json,
    "cow": Cow.from_json,
    "progress": Progress.from_json,
}


class Recording:
    """A recording that was opened; ``header`` is read, the rest comes from ``records``.

    ``cut`` and ``summary`` are known once all records were read: a recording that was
    cut off has no summary. ``left_out`` is how many lines were longer than any that
    record writes, ``unkept`` how many VMAs and names were too many to keep.
    """

    def __init__(self, path: Path) -> None:
        """Open it and read its header; raises ForktraceError."""
        self.path = path
        self.summary: Summary | None = None
        self.cut = True
        self.left_out = self.unkept = 0
        self._number = 1
        self._length, self._ended = 0, False
        self._file = _open(path)
        try:
            self._pieces = _pieces(_text(path, self._file))
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> Header:
        line, _ = next(self._pieces, (b"", False))
        if not line:
            raise ForktraceError(
                f"{spoken(self.path)} was cut off before anything was recorded."
            )
        record = _header(line)
        if record is None:
            raise ForktraceError(f"{spoken(self.path)} is not a recording.", _WHAT_FITS)
        version = record.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise ForktraceError(
                f"{spoken(self.path)} has version {version!r:.20} of the format; "
                f"this forktrace reads up to {VERSION}.",
                f"Use the forktrace that wrote it ({record.get('forktrace')!r:.20}), "
                "or a newer one.",
            )
        try:
            return Header.from_json(record)
        except DAMAGE as error:
            raise self._damaged(error) from error

    @property
    def share_read(self) -> float:
        """How much of the file was read: 0 to 1; 0 where it has no size, as a pipe."""
        size = os.fstat(self._file.fileno()).st_size
        return self._file.tell() / size if size else 0.0

    def records(self) -> Iterator[Record]:
        """Yield what was recorded, once; a kind of line unknown to us is left out."""
        for piece, ends in self._pieces:
            self._number += 1
            if self.summary:
                raise self._damaged("there is more behind its end")
            try:
                record = self._short(piece) if ends else self._long(piece)
            except DAMAGE as error:
                raise self._damaged(error) from error
            if record is not None:
                yield record

    def _short(self, line: bytes) -> Record | None:
        record = _decode(line.decode())
        kind = record["type"]
        if kind == "summary":
            self.summary = Summary.from_json(record)
            self.cut = False
            return self.summary
        return _READ[kind](record) if kind in _READ else None

    def _long(self, first: bytes) -> Record | None:
        """Read a line that begins like that; None if it is too long, or cut off."""
        pieces = self._line_from(first)
        damage: Exception | None = None
        try:
            record, unkept = read_long(pieces)
        except DAMAGE as error:
            damage = error
        for _ in pieces:
            pass
        if not self._ended:
            return None
        if self._length > _LONGEST_LINE:
            self.left_out += 1
            return None
        if damage:
            raise damage
        self.unkept += unkept
        return record

    def _line_from(self, first: bytes) -> Iterator[bytes]:
        """Yield the pieces of one line, and note how long it is and whether it ends."""
        self._length, self._ended = len(first), False
        yield first
        for piece, ended in self._pieces:
            self._length += len(piece)
            self._ended = ended
            yield piece
            if ended:
                return

    def _damaged(self, why: object) -> ForktraceError:
        said = f"no {why}" if isinstance(why, KeyError) else str(why)
        return ForktraceError(
            f"{spoken(self.path)} is damaged at line {self._number}: {said:.120}.",
            "What comes before can still be read: zcat FILE | head -n "
            f"{self._number - 1}",
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Recording:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def is_recording(path: Path) -> bool:
    """Tell whether a file begins as recordings do, of whatever version."""
    with _open(path) as file:
        try:
            line, _ = next(_pieces(_text(path, file)), (b"", False))
        except ForktraceError:
            return False
    return _header(line) is not None


def end_of(path: Path) -> int:
    """Return how far a recording had come, in nanoseconds since the epoch, or 0.

    Its last lines tell, or the first if it came no further: all of it is unpacked, and
    little is parsed.
    """
    last = b""
    with _open(path) as file:
        whole = True
        for piece, ends in _pieces(_text(path, file)):
            if whole and ends and any(w in piece[:_BEGINNING] for w in _TIMED):
                last = piece
            whole = ends
    try:
        return time_of(_decode(last.decode())) if last else 0
    except DAMAGE:
        # Reading all of it says what is wrong.
        return 0


def spoken(path: Path) -> str:
    """Return what a recording is called at the beginning of a sentence."""
    return "Standard input" if path == STANDARD else str(path)


def _header(line: bytes) -> dict[str, Any] | None:
    """Return a first line, or None if no recording begins like that."""
    if len(line) > _LONGEST_HEADER:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(record, dict) and record.get("format") == FORMAT
    return record if ours else None


def _open(path: Path) -> BinaryIO:
    if path == STANDARD:
        if not sys.stdin or sys.stdin.isatty():
            raise UsageError(
                "Standard input is no recording, but a terminal.",
                "Pipe one in: forktrace record -o - | forktrace report -",
            )
        return sys.stdin.buffer
    if path.is_dir():
        raise UsageError(f"{path} is a directory.", _WHAT_FITS)
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.", _WHAT_FITS) from None
    except PermissionError:
        raise ForktraceError(
            f"{path} may not be read.", f"Run: sudo chown $USER {path}"
        ) from None


def _pieces(text: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield lines, in pieces where they are long, and whether a line ends there.

    One that was cut off at the end of the file does not end.
    """
    # A piece may come in many parts, to be joined once.
    parts: list[bytes] = []
    length = 0
    for chunk in text:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            line = b"".join([*parts, part]) if parts else part
            parts, length = [], 0
            if len(line) > _WHOLE_LINE:
                yield line[:_WHOLE_LINE], False
                line = line[_WHOLE_LINE:]
            yield line, True
        if rest:
            parts.append(rest)
            length += len(rest)
        if length > _WHOLE_LINE:
            yield b"".join(parts), False
            parts, length = [], 0


def _text(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield what the gzip members hold, up to where the last one was cut off.

    What somebody has unpacked is yielded as it is. Raises ForktraceError when this is
    neither, or damaged.
    """
    place = 0
    unpack: Any = None
    chunk = b""
    while chunk or (chunk := file.read(_CHUNK)):
        if unpack is None:
            if not place and chunk[:1] == b"{":
                yield chunk
                yield from iter(lambda: file.read(_CHUNK), b"")
                return
            if not place and chunk[:1] != b"\x1f":
                raise ForktraceError(f"{spoken(path)} is not a recording.", _WHAT_FITS)
            if not chunk.strip(b"\0"):
                # A machine that lost its power leaves zeros where it had not written.
                place += len(chunk)
                chunk = b""
                continue
            unpack = zlib.decompressobj(wbits=31)
        before = len(chunk)
        try:
            text = unpack.decompress(chunk, _CHUNK * 4)
        except zlib.error as error:
            raise ForktraceError(
                f"{spoken(path)} is damaged near byte {place}: {error}.",
                "What comes before can still be read: zcat FILE",
            ) from error
        chunk = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        place += before - len(chunk)
        if unpack.eof:
            unpack = None
        if text:
            yield text
    if not place:
        raise ForktraceError(f"{spoken(path)} is empty.", _WHAT_FITS)
