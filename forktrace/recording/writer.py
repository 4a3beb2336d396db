"""Writes a recording so that, whatever happens, the file stays readable.

What comes in waits at most a second, or until there is a megabyte of it. Then it is
compressed into a gzip member of its own and written at once; a member that could not be
written as a whole is taken back.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError, UsageError
from forktrace.recording.reader import is_recording

FLUSH_SECONDS = 1.0
_FLUSH_BYTES = 1 << 20
# Room kept for the summary, which comes last.
_RESERVE = 16 << 10
SMALLEST = 64 << 10
"""The least that a recording can be bounded to, in bytes."""


class Full(Exception):
    """No more fits: ``reason`` is ``max_size`` or ``disk``."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, as the summary names it."""
        super().__init__(reason)
        self.reason = reason


class WriteError(OSError):
    """The disk fails, and not for want of room."""


def check_place(path: Path) -> None:
    """Raise UsageError if a recording must not be written to ``path``.

    What is there has to be a recording, or empty. It will be moved, see ``_old``.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"There is no folder {path.parent}.", "Make it, or name another."
        )
    _check_file(path)


def _old(path: Path) -> Path:
    """Return where a recording is moved to when another takes its place.

    That is ``path``.old, or ``path``.old.2 and so on: nothing is ever replaced.
    """
    names = (f"{path.name}.old", *(f"{path.name}.old.{n}" for n in range(2, 1000)))
    for name in names:
        old = path.with_name(name)
        if not os.path.lexists(old):
            return old
    raise UsageError(f"There are too many older recordings of {path}.", "Remove some.")


def _check_file(path: Path) -> None:
    """Raise UsageError if something is there that is not ours to replace."""
    try:
        path.lstat()
    except FileNotFoundError:
        return
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UsageError(
            f"{path} is a symbolic link to nothing.", "Remove it, or name another file."
        ) from None
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is a directory.", "Name another file.")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is not a regular file.", "Name a file on a disk.")
    if found.st_size and not is_recording(path):
        raise UsageError(f"{path} exists and is not a recording.", "Name another file.")
    with _held(path):
        pass


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep other recorders off what is there; raises UsageError if one has it."""
    try:
        # Over NFS, only who may write can lock.
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield
        return
    try:
        _lock(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    """Lock a file until it is closed; raises UsageError if a recorder was faster."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(path) from None
    except OSError:
        # There are file systems without locks.
        return
    try:
        # Before it was locked, a recorder may have put another in its place.
        same = os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"Another forktrace is recording to {path}.", "Name another file."
    )


class Writer:
    """A recording under way; ``flush`` is to be called whenever it is ``due``.

    ``written`` forks are in the file, ``unwritten`` ones were dropped.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the file, only for its owner; one that exists is moved, see ``moved``.

        Raises UsageError for a place where no recording may be written.
        """
        self.path = path
        self.moved: Path | None = None
        self._file = -1
        self._open()
        self._max_bytes = max_bytes
        self._clock = clock
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._forks_waiting = 0
        self.written = self.unwritten = 0
        self._written_at = clock()
        self.size = 0

    @property
    def place(self) -> str:
        """What the recording is written to, in words."""
        return str(self.path)

    def _open(self) -> None:
        check_place(self.path)
        with _held(self.path):
            self._make_room()
            self._create()
        _give_to_sudo_user(self._file)

    def _make_room(self) -> None:
        if self.path.exists() and self.path.stat().st_size:
            self.moved = _old(self.path)
            self.path.replace(self.moved)
        else:
            self.path.unlink(missing_ok=True)

    def _create(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._file = os.open(self.path, flags, 0o600)
        except FileExistsError:
            raise _taken(self.path) from None
        except OSError:
            if self.moved:
                self.moved.replace(self.path)
            raise
        _lock(self._file, self.path)

    @property
    def forks(self) -> int:
        """How many forks are in the file, or wait to be."""
        return self.written + self._forks_waiting

    def add(self, record: dict[str, Any], *, forks: int = 0) -> None:
        """Take one line; it is written with the next flush."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self._forks_waiting += forks

    @property
    def due(self) -> bool:
        """Whether it is time to flush."""
        waited = self._clock() - self._written_at
        return waited >= FLUSH_SECONDS or self._waiting_bytes >= _FLUSH_BYTES

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._waiting

    def flush(self, reserve: int = _RESERVE) -> None:
        """Write what waits; raises Full, or WriteError if the disk fails otherwise."""
        self._written_at = self._clock()
        if not self._waiting:
            return
        member = gzip.compress(b"".join(self._waiting), 6)
        if self.size + len(member) + reserve > self._max_bytes:
            raise Full("max_size")
        self._write(member)
        self.written += self._forks_waiting
        self._waiting, self._waiting_bytes, self._forks_waiting = [], 0, 0

    def _write(self, member: bytes) -> None:
        """Write a whole member, or leave the file as it was."""
        done = 0
        try:
            while done < len(member):
                done += os.write(self._file, member[done:])
        except OSError as error:
            self._take_back()
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Full("disk") from error
            raise WriteError(error.errno, error.strerror) from error
        self.size += len(member)

    def _take_back(self) -> None:
        os.ftruncate(self._file, self.size)
        os.lseek(self._file, self.size, os.SEEK_SET)

    def _sync(self) -> None:
        os.fsync(self._file)

    def drop(self) -> None:
        """Give up what waits, and count it."""
        self.unwritten += self._forks_waiting
        self._waiting, self._waiting_bytes, self._forks_waiting = [], 0, 0

    def finish(self, summary: dict[str, Any]) -> bool:
        """Write the last line; False if even that does not fit."""
        self.add(summary)
        try:
            self.flush(reserve=0)
            self._sync()
        except (Full, OSError):
            return False
        return True

    def abandon(self) -> None:
        """Remove the file, in which nothing is; what had been moved comes back."""
        if self.moved:
            self.moved.replace(self.path)
            self.moved = None
        else:
            self.path.unlink()

    def close(self) -> None:
        """Close the file; what waits is not written."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _give_to_sudo_user(file: int) -> None:
    """Let the person who said sudo read the file; reports need no root."""
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
        if os.geteuid() == 0:
            os.fchown(file, uid, gid)
    except (KeyError, ValueError, OSError):
        # Then it stays root's, as any file that root makes.
        return


def failure(place: str, error: WriteError) -> ForktraceError:
    """Say that the disk failed, or who reads a pipe."""
    return ForktraceError(
        f"Writing {place} failed: {error.strerror}.",
        "What was recorded until then is kept.",
    )
