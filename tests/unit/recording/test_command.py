"""What goes into a recording of what the kernel delivers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.errors import UsageError
from forktrace.model import Fork
from forktrace.recording.command import Recorder, parse_size
from forktrace.recording.reader import Record, Recording
from forktrace.recording.writer import Writer
from forktrace.stop import Stop
from forktrace.tracing import Bounds
from tests.unit.recording.samples import EXEC, HEADER, MS, fork, vma


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give back the signals that Stop takes over."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


class Kept:
    """A recorder, and what it put into its file."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self.writer = Writer(folder / "r", 1 << 30)
        self.writer.add(HEADER.to_json())
        self.stop = Stop()
        self.recorder = Recorder(self.writer, bounds, self.stop)

    def records(self) -> list[Record]:
        self.writer.flush()
        with Recording(self.writer.path) as recording:
            return list(recording.records())

    def forks(self) -> list[Fork]:
        return [each for each in self.records() if isinstance(each, Fork)]


def test_forks_are_kept_until_there_are_enough(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(count=2))
    for number in range(3):
        kept.recorder.fork(fork(number))
    assert kept.stop
    assert kept.recorder.ended == "count"
    assert kept.forks() == [fork(0), fork(1)]


def test_quick_forks_are_left_out_and_so_are_their_execs(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(min_duration_ns=5 * MS))
    kept.recorder.fork(fork(0, 4 * MS))
    kept.recorder.exec(EXEC)
    assert kept.records() == []
    kept.recorder.fork(fork(0, 5 * MS))
    assert kept.records() == [fork(0, 5 * MS), EXEC]
    assert kept.recorder.execs == 1


def test_after_a_signal_what_happened_before_still_comes_in(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds())
    kept.stop.set()
    kept.recorder.fork(fork())
    assert kept.forks() == [fork()]


def test_vmas_are_kept_of_the_costliest_forks_only(tmp_path: Path) -> None:
    details = (vma(0x1000, "anon_vma", 1),)
    kept = Kept(tmp_path, Bounds())
    for number in range(30):
        kept.recorder.fork(fork(number, (100 - number) * MS, details=details))
    told = [each.details for each in kept.forks()]
    assert told == [details] * 10 + [None] * 20


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("100M", 100 << 20),
        ("1G", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("65536", 65536),
        ("64k", 65536),
        ("2 TB", 2 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1G", "1X", "0", "63K", "1e9", "\u0661G"])
def test_what_is_no_size_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)
