"""Whatever happens to the writer, what it wrote before stays readable by zcat."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forktrace.errors import UsageError
from forktrace.recording.writer import SMALLEST, Full, WriteError, Writer, check_place
from tests.unit.recording.samples import HEADER, write


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def numbers(path: Path) -> list[int]:
    """Return what zcat reads of the file."""
    text = subprocess.run(["zcat", path], capture_output=True, check=True).stdout
    return [json.loads(line)["n"] for line in text.splitlines()]


def test_each_flush_can_be_read_at_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r", 1 << 30)
    for n in range(3):
        writer.add({"n": n}, forks=1)
        writer.flush()
        assert numbers(tmp_path / "r") == list(range(n + 1))
        assert writer.size == (tmp_path / "r").stat().st_size
    assert (writer.forks, writer.written) == (3, 3)


def test_it_is_due_after_a_second_or_a_megabyte(tmp_path: Path) -> None:
    clock = Clock()
    writer = Writer(tmp_path / "r", 1 << 30, clock)
    assert not writer.due
    clock.now = 1.0
    assert writer.due
    writer.flush()
    assert not writer.due
    writer.add({"n": "x" * (1 << 20)})
    assert writer.due


def test_it_never_grows_beyond_its_bound_and_counts_what_did_not_fit(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path / "r", SMALLEST)

    def fill() -> None:
        for n in range(10_000):
            writer.add({"n": n, "filler": os.urandom(1000).hex()}, forks=1)
            writer.flush()

    with pytest.raises(Full, match="max_size"):
        fill()
    written = writer.written
    writer.drop()
    assert writer.unwritten == 1
    assert writer.finish({"n": -1})
    assert numbers(tmp_path / "r") == [*range(written), -1]
    assert (tmp_path / "r").stat().st_size <= SMALLEST


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, Full), (errno.EDQUOT, Full), (errno.EIO, WriteError)],
)
def test_half_a_member_is_taken_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
) -> None:
    writer = Writer(tmp_path / "r", 1 << 30)
    writer.add({"n": 0}, forks=1)
    writer.flush()
    whole = os.write
    room = [10]

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(number, os.strerror(number))
        done = whole(file, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", full)
    writer.add({"n": 1}, forks=1)
    with pytest.raises(error):
        writer.flush()
    monkeypatch.setattr(os, "write", whole)
    assert numbers(tmp_path / "r") == [0]
    writer.drop()
    assert writer.finish({"n": 2})
    assert numbers(tmp_path / "r") == [0, 2]
    assert (writer.written, writer.unwritten) == (1, 1)


def test_a_disk_without_room_for_the_last_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "r", 1 << 30)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    assert not writer.finish({"n": 1})


def test_a_recording_that_is_there_is_kept_as_old(tmp_path: Path) -> None:
    older, newer = write(tmp_path / "r").read_bytes(), write(tmp_path / "s", [])
    path = tmp_path / "r"
    assert Writer(path, 1 << 30).moved == tmp_path / "r.old"
    assert (tmp_path / "r.old").read_bytes() == older
    assert path.stat().st_size == 0
    newer.replace(path)
    newest = path.read_bytes()
    assert Writer(path, 1 << 30).moved == tmp_path / "r.old.2"
    assert (tmp_path / "r.old.2").read_bytes() == newest
    assert (tmp_path / "r.old").read_bytes() == older


def test_an_empty_file_is_just_taken(tmp_path: Path) -> None:
    (tmp_path / "r").touch()
    assert Writer(tmp_path / "r", 1 << 30).moved is None
    assert os.listdir(tmp_path) == ["r"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    Writer(tmp_path / "r", 1 << 30)
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_who_said_sudo_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "5678")
    Writer(tmp_path / "r", 1 << 30)
    found = (tmp_path / "r").stat()
    assert (found.st_uid, found.st_gid) == (1234, 5678)


@pytest.mark.parametrize(
    "thesis",
    [
        b"my thesis",
        gzip.compress(b"my thesis\n"),
        gzip.compress(b'{"format": "thesis"}\n'),
        gzip.compress(bytes(1 << 20)),
        gzip.compress(b"my thesis\n")[:20],
        b"\x1f\x8b",
    ],
    ids=["text", "gzip", "JSON", "zeros", "cut", "magic"],
)
def test_a_file_that_is_no_recording_is_not_touched(
    tmp_path: Path, thesis: bytes
) -> None:
    (tmp_path / "r").write_bytes(thesis)
    with pytest.raises(UsageError, match="exists and is not a recording") as refusal:
        check_place(tmp_path / "r")
    assert f"{tmp_path / 'r'} " in refusal.value.message
    with pytest.raises(UsageError):
        Writer(tmp_path / "r", 1 << 30)
    assert (tmp_path / "r").read_bytes() == thesis


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link to nothing"),
        (lambda path: path.symlink_to("thesis"), "exists and is not a recording"),
    ],
    ids=["directory", "fifo", "dangling", "link"],
)
def test_what_is_no_file_is_told_before_anything_is_moved(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "thesis").write_text("my thesis")
    make(tmp_path / "r")
    with pytest.raises(UsageError, match=said) as refusal:
        check_place(tmp_path / "r")
    assert refusal.value.message.startswith(f"{tmp_path / 'r'} ")
    assert sorted(os.listdir(tmp_path)) == ["r", "thesis"]


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        lambda path: path.write_text("my thesis"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: os.link(path.with_name("r"), path),
        lambda path: Writer(path, 1 << 30),
    ],
    ids=["directory", "text", "dangling", "same", "under way"],
)
def test_whatever_is_at_the_place_of_the_old_one_stays(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    recording = write(tmp_path / "r").read_bytes()
    make(tmp_path / "r.old")
    before = (tmp_path / "r.old").lstat()
    writer = Writer(tmp_path / "r", 1 << 30)
    assert writer.moved == tmp_path / "r.old.2"
    assert (tmp_path / "r.old.2").read_bytes() == recording
    assert (tmp_path / "r.old").lstat().st_ino == before.st_ino
    writer.abandon()
    assert sorted(os.listdir(tmp_path)) == ["r", "r.old"]
    assert (tmp_path / "r").read_bytes() == recording


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "empty"])
def test_a_file_that_is_recorded_to_is_left_to_its_recorder(
    tmp_path: Path, *, begun: bool
) -> None:
    first = Writer(tmp_path / "r", 1 << 30)
    first.add(HEADER.to_json())
    if begun:
        first.flush()
    for begin in (check_place, lambda path: Writer(path, 1 << 30)):
        with pytest.raises(UsageError, match=f"is recording to {tmp_path / 'r'}"):
            begin(tmp_path / "r")
    first.flush()
    assert os.listdir(tmp_path) == ["r"]
    first.close()
    assert Writer(tmp_path / "r", 1 << 30).moved


def test_of_two_that_begin_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the second take the file between the first's making and locking it."""
    path, whole, writers = tmp_path / "r", os.open, []

    def interrupted(where: Path, flags: int, *mode: int) -> int:
        file = whole(where, flags, *mode)
        if flags & os.O_CREAT:
            monkeypatch.undo()
            writers.append(Writer(path, 1 << 30))
        return file

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(UsageError, match="Another forktrace is recording"):
        Writer(path, 1 << 30)
    writers[0].add(HEADER.to_json())
    writers[0].flush()
    assert path.stat().st_size == writers[0].size


def test_where_there_are_no_locks_it_is_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert Writer(write(tmp_path / "r"), 1 << 30).moved


def test_where_no_file_can_be_made_the_recording_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r")
    before, whole = path.read_bytes(), os.open

    def full(where: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "full")
        return whole(where, flags, *mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="full"):
        Writer(path, 1 << 30)
    assert os.listdir(tmp_path) == ["r"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", [".", "missing/r", "/dev/null"])
def test_a_place_that_cannot_hold_a_file_is_wrong_usage(
    tmp_path: Path, place: str
) -> None:
    with pytest.raises(UsageError):
        Writer(tmp_path / place, 1 << 30)
