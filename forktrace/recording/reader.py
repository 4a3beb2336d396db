"""Reads a recording line by line, in little memory, and trusts nothing in it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Union

from forktrace.errors import ForktraceError, UsageError
from forktrace.model import Exec, Fork
from forktrace.recording.records import (
    FORMAT,
    VERSION,
    Header,
    Mappings,
    Progress,
    Summary,
)

Record = Union[Fork, Mappings, Exec, Progress, Summary]

_CHUNK = 256 << 10
_LONGEST_HEADER = 64 << 10
# A VMA takes some 250 bytes, at most 400: the 65,530 that are usually allowed 26 MB at
# most. Some distributions set vm.max_map_count to a million.
_LONGEST_LINE = 256 << 20
_WHAT_FITS = "forktrace report reads what forktrace record -o FILE wrote."

# Of a million lines, finding out their encoding would take a while.
_decode = json.JSONDecoder().decode

_READ: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "fork": Fork.from_json,
    "mappings": Mappings.from_json,
    "exec": Exec.from_json,
    "progress": Progress.from_json,
}


class Recording:
    """A recording that was opened; ``header`` is read, the rest comes from ``records``.

    ``cut`` and ``summary`` are known once all records were read: a recording that was
    cut off has no summary.
    """

    def __init__(self, path: Path) -> None:
        """Open it and read its header; raises ForktraceError."""
        self.path = path
        self.summary: Summary | None = None
        self.cut = True
        self._number = 1
        self._file = _open(path)
        try:
            self._lines = _lines(path, self._file)
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> Header:
        line = next(self._lines, b"")
        if not line:
            raise ForktraceError(
                f"{self.path} was cut off before anything was recorded."
            )
        record = _header(line)
        if record is None:
            raise ForktraceError(f"{self.path} is not a recording.", _WHAT_FITS)
        version = record.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise ForktraceError(
                f"{self.path} has version {version!r:.20} of the format; "
                f"this forktrace reads up to {VERSION}.",
                f"Use the forktrace that wrote it ({record.get('forktrace')!r:.20}), "
                "or a newer one.",
            )
        try:
            return Header.from_json(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def records(self) -> Iterator[Record]:
        """Yield what was recorded, once; a kind of line unknown to us is left out."""
        for line in self._lines:
            self._number += 1
            if line is None:
                continue
            if self.summary:
                raise self._damaged("there is more behind its end")
            try:
                record = _decode(line.decode())
                kind = record["type"]
                if kind == "summary":
                    self.summary = Summary.from_json(record)
                    self.cut = False
                    yield self.summary
                elif kind in _READ:
                    yield _READ[kind](record)
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                RecursionError,
            ) as error:
                raise self._damaged(error) from error

    def _damaged(self, why: object) -> ForktraceError:
        said = f"no {why}" if isinstance(why, KeyError) else str(why)
        return ForktraceError(
            f"{self.path} is damaged at line {self._number}: {said:.120}.",
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
            line = next(_lines(path, file), None)
        except ForktraceError:
            return False
    return line is not None and _header(line) is not None


def _header(line: bytes) -> dict[str, Any] | None:
    """Return a first line, or None if no recording begins like that."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(record, dict) and record.get("format") == FORMAT
    return record if ours else None


def _open(path: Path) -> BinaryIO:
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


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes | None]:
    """Yield each whole line; one that was cut off at the end of the file is left out.

    None stands for a line longer than any that record writes, which is not kept.
    Raises ForktraceError when this is no gzip file, or a damaged one.
    """
    # A line may come in many pieces, to be joined once.
    pieces: list[bytes] = []
    length = 0
    most = _LONGEST_HEADER
    for text in _text(path, file):
        first, *others = text.split(b"\n")
        length += len(first)
        if length <= most:
            pieces.append(first)
        elif most == _LONGEST_HEADER:
            raise ForktraceError(f"{path} is not a recording.", _WHAT_FITS)
        else:
            pieces.clear()
        if not others:
            continue
        yield b"".join(pieces) if length <= most else None
        most = _LONGEST_LINE
        pieces = [others.pop()]
        length = len(pieces[0])
        yield from others


def _text(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield what the gzip members hold, up to where the last one was cut off."""
    place = 0
    unpack: Any = None
    chunk = b""
    while chunk or (chunk := file.read(_CHUNK)):
        if unpack is None:
            if not place and chunk[:1] != b"\x1f":
                raise ForktraceError(f"{path} is not a recording.", _WHAT_FITS)
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
                f"{path} is damaged near byte {place}: {error}.",
                "What comes before can still be read: zcat FILE",
            ) from error
        chunk = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        place += before - len(chunk)
        if unpack.eof:
            unpack = None
        if text:
            yield text
    if not place:
        raise ForktraceError(f"{path} is empty.", _WHAT_FITS)
