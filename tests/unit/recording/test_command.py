"""What goes into a recording of what the kernel delivers."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forktrace.errors import ForktraceError, UsageError
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import rule_of_release
from forktrace.model import Fork, Totals
from forktrace.recording import command
from forktrace.recording.command import Options, Recorder, parse_size, record
from forktrace.recording.reader import Record, Recording
from forktrace.recording.records import Filters
from forktrace.recording.writer import SMALLEST, Writer
from forktrace.report.command import read
from forktrace.stop import Stop
from forktrace.tracing import Bounds
from forktrace.workload import Workload
from tests.unit.exporter.samples import totals
from tests.unit.recording.samples import EXEC, HEADER, MS, VFORK, fork, vma, write


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


def test_vforks_are_kept_beside_forks_until_there_are_enough(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(count=1))
    kept.recorder.vfork(VFORK)
    kept.recorder.fork(fork())
    kept.recorder.vfork(VFORK)
    assert kept.records() == [VFORK, fork()]
    assert kept.writer.forks == 1


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


class Traced:
    """A session that delivers what a test says, then has the process told to stop."""

    stops = True

    def __init__(self, batches: Sequence[Sequence[Fork]]) -> None:
        names = FlagNames.of("7.3", {})
        self.kernel = SimpleNamespace(
            release="7.3.4", rule=rule_of_release("7.3"), names=names
        )
        self.attached, self.decided_by = "fentry", "branch"
        self._batches = list(batches)
        self._deliver: Callable[[Fork], None] = lambda fork: None

    def __call__(self, *arguments: Any) -> Traced:
        self._deliver = arguments[3]
        return self

    def __enter__(self) -> Traced:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def drain(self) -> None:
        """Nothing is left."""

    def poll(self, timeout_ms: int) -> None:
        if self._batches:
            for each in self._batches.pop(0):
                self._deliver(each)
        elif timeout_ms and self.stops:
            os.kill(os.getpid(), signal.SIGTERM)

    def warnings(self) -> list[str]:
        return []

    def totals(self) -> Totals:
        return replace(totals(), lost={"fork_event": 2})

    def disagreement(self) -> str | None:
        return None

    def detach(self) -> None:
        pass

    def follow(self, pid: int) -> None:
        self.followed = pid


@pytest.fixture
def recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Path]]:
    """Record what a test says; returns the exit status, and where."""

    def run(
        batches: Sequence[Sequence[Fork]],
        max_bytes: int = 1 << 30,
        path: Path = tmp_path / "forks.gz",
        workload: Workload | None = None,
        **bounds: Any,
    ) -> tuple[int, Path]:
        monkeypatch.setattr(command, "Session", Traced(batches))
        # Every look is one a second later.
        monkeypatch.setattr(Writer, "due", True)
        options = Options(
            path=path,
            bounds=Bounds(**bounds),
            max_bytes=max_bytes,
            filters=Filters(),
            vmas=True,
            stacks=False,
            cow=False,
            attach="auto",
            decision="auto",
            self_stats=False,
            workload=workload,
        )
        return record(options), options.path

    return run


def noise(number: int) -> Fork:
    """Return a fork that does not compress well."""
    return replace(fork(number), cgroup=f"/{os.urandom(2000).hex()}")


def test_a_signal_ends_it_well(
    recorded: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, path = recorded([[fork(0)], [], [fork(1), fork(2)]])
    assert status == 0
    study = read(path)
    assert (study.forks, study.ended) == (3, "stopped")
    assert study.lost == {"fork_event": 2}
    assert study.header.rule.words.startswith("copy if dst has ")
    said = capsys.readouterr().err
    assert "Tracing forks on 7.3.4 (fentry, decisions from branch)" in said
    assert f"3 forks in {path}" in said
    assert "--no-vmas" in said


def test_it_stops_by_itself_after_a_while(
    recorded: Callable[..., tuple[int, Path]],
) -> None:
    status, path = recorded([[fork(0)]] * 2, seconds=1e-9)
    assert status == 0
    assert read(path).ended == "duration"


def test_at_its_largest_it_ends_well_and_says_so(
    recorded: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, path = recorded([[noise(n)] for n in range(100)], max_bytes=SMALLEST)
    assert status == 0
    assert path.stat().st_size <= SMALLEST
    study = read(path)
    assert study.ended == "max_size"
    assert study.unwritten == 1
    assert 0 < study.forks < 99
    assert "as --max-size 64 KiB allows" in capsys.readouterr().err


def test_it_ends_with_its_command(
    recorded: Callable[..., tuple[int, Path]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Traced, "stops", False)
    workload = Workload(["sh", "-c", "exit 3"])
    status, path = recorded([[fork(0)]], workload=workload)
    assert (status, read(path).ended) == (0, "command")
    assert capsys.readouterr().err.endswith("\nsh ended with status 3.\n")


def test_a_command_that_cannot_be_started_leaves_no_recording(
    recorded: Callable[..., tuple[int, Path]], tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o700)
    with pytest.raises(ForktraceError, match="cannot be started") as failure:
        recorded([[fork(0)]], workload=Workload([str(program)]))
    assert failure.value.exit_status == 1
    assert not (tmp_path / "forks.gz").exists()


def test_a_bound_ends_the_command_too(
    recorded: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    workload = Workload(["sleep", "1000"])
    status, path = recorded([[fork(0)]], workload=workload, count=1)
    assert (status, read(path).ended) == (0, "count")
    assert capsys.readouterr().err.endswith(
        "sleep was ended by a signal: Terminated.\n"
    )


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk with so much ``room``, and what it says when there is none left."""
    whole, left = os.write, {"room": 1 << 30, "errno": errno.ENOSPC}

    def write(file: int, data: bytes) -> int:
        if left["room"] <= 0:
            raise OSError(left["errno"], os.strerror(left["errno"]))
        done = whole(file, data[: left["room"]])
        left["room"] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    return left


def test_a_full_disk_is_one_line_and_a_failure(
    recorded: Callable[..., tuple[int, Path]],
    capsys: pytest.CaptureFixture[str],
    disk: dict[str, int],
) -> None:
    disk["room"] = 30_000
    status, path = recorded([[noise(n)] for n in range(100)])
    assert status == 1
    study = read(path)
    assert study.forks > 2
    complaints = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("forktrace:")
    ]
    assert complaints == [
        f"forktrace: The disk is full. {path} holds what was recorded until then."
    ]


def test_a_disk_that_fails_is_told_and_keeps_what_there_was(
    recorded: Callable[..., tuple[int, Path]], tmp_path: Path, disk: dict[str, int]
) -> None:
    disk.update(room=30_000, errno=errno.EIO)
    with pytest.raises(ForktraceError, match="Input/output error") as failure:
        recorded([[noise(n)] for n in range(100)])
    assert failure.value.exit_status == 1
    assert read(tmp_path / "forks.gz").forks > 2


class Deaf(io.StringIO):
    """A stderr that takes so many texts, then fails as the disk could."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self.left = texts

    def write(self, text: str) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "stderr is full")
        self.left -= 1
        return super().write(text)


def test_where_stderr_fails_at_once_nothing_is_recorded(
    recorded: Callable[..., tuple[int, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = write(tmp_path / "forks.gz").read_bytes()
    monkeypatch.setattr(sys, "stderr", Deaf(0))
    with pytest.raises(OSError, match="stderr is full"):
        recorded([[fork(0)]])
    assert os.listdir(tmp_path) == ["forks.gz"]
    assert (tmp_path / "forks.gz").read_bytes() == before


def test_where_stderr_fails_later_the_recording_ends_well(
    recorded: Callable[..., tuple[int, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its one line takes two texts.
    monkeypatch.setattr(sys, "stderr", Deaf(2))
    monkeypatch.setattr(Traced, "warnings", lambda self: ["odd"])
    with pytest.raises(OSError, match="stderr is full"):
        recorded([[fork(0)], [fork(1)]])
    study = read(tmp_path / "forks.gz")
    assert (study.ended, study.unwritten) == ("stopped", 1)


def test_without_room_for_a_header_no_file_is_left(
    recorded: Callable[..., tuple[int, Path]], tmp_path: Path, disk: dict[str, int]
) -> None:
    disk["room"] = 10
    with pytest.raises(ForktraceError, match="the disk is full"):
        recorded([[fork(0)]])
    assert not (tmp_path / "forks.gz").exists()


def test_without_room_for_a_header_the_recording_before_it_stays(
    recorded: Callable[..., tuple[int, Path]], tmp_path: Path, disk: dict[str, int]
) -> None:
    before = write(tmp_path / "forks.gz").read_bytes()
    disk["room"] = 10
    with pytest.raises(ForktraceError, match="the disk is full"):
        recorded([[fork(0)]])
    assert os.listdir(tmp_path) == ["forks.gz"]
    assert (tmp_path / "forks.gz").read_bytes() == before


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
