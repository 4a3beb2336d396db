"""Whatever happens to the writer, what it wrote before stays readable by zcat."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from forktrace.errors import UsageError
from forktrace.recording.writer import SMALLEST, Full, Writer


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
    [(errno.ENOSPC, Full), (errno.EDQUOT, Full), (errno.EIO, OSError)],
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
    path = tmp_path / "r"
    path.write_bytes(gzip.compress(b'{"n":1}\n'))
    writer = Writer(path, 1 << 30)
    assert writer.moved == tmp_path / "r.old"
    assert numbers(tmp_path / "r.old") == [1]
    assert path.stat().st_size == 0


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


def test_a_file_that_is_no_recording_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("my thesis")
    with pytest.raises(UsageError, match="not a recording"):
        Writer(tmp_path / "r", 1 << 30)
    assert (tmp_path / "r").read_text() == "my thesis"


@pytest.mark.parametrize("place", [".", "missing/r", "/dev/null"])
def test_a_place_that_cannot_hold_a_file_is_wrong_usage(
    tmp_path: Path, place: str
) -> None:
    with pytest.raises(UsageError):
        Writer(tmp_path / place, 1 << 30)
