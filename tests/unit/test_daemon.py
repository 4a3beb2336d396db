"""When ``run`` has the rule checked, and when it writes its textfile."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from forktrace.daemon import AuditWindows, Textfile
from forktrace.errors import ForktraceError, Unsupported


class Session:
    """Notes what the windows ask for."""

    def __init__(self) -> None:
        self.observing = True
        self.retired = 0
        self.refusal: Exception | None = None

    def observe(self, on: bool) -> None:
        if on and self.refusal:
            raise self.refusal
        self.observing = on

    def retire_witness(self) -> bool:
        self.retired += 1
        return True


def test_the_first_ten_seconds_and_then_one_in_sixty_are_observed() -> None:
    session = Session()
    windows = AuditWindows(session, now=100.0)
    observed = []
    for half_seconds in range(2 * 200):
        windows.tick(100 + half_seconds / 2)
        observed.append(session.observing)
    seconds = [all(observed[2 * i : 2 * i + 2]) for i in range(200)]
    assert seconds == [
        *[True] * 10,
        *([False] * 59 + [True]) * 3,
        *[False] * 10,
    ]


def test_between_windows_the_witness_is_asked_to_leave() -> None:
    session = Session()
    windows = AuditWindows(session, now=0.0)
    windows.tick(5.0)
    assert session.retired == 0
    windows.tick(10.0)
    assert session.retired == 0
    windows.tick(11.0)
    windows.tick(12.0)
    assert session.retired == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Unsupported("The kernel refused a kprobe: Operation not permitted."),
        ForktraceError("No room for a kprobe: Too many open files."),
        OSError(errno.EPIPE, "Broken pipe"),
    ],
)
def test_a_window_that_cannot_open_is_counted_said_once_and_tried_again(
    refusal: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session()
    windows = AuditWindows(session, now=0.0)
    windows.tick(10.0)
    session.refusal = refusal
    for minute in range(3):
        windows.tick(69.0 + 59 * minute)
        assert not session.observing
        assert windows.failures == minute + 1
        assert session.retired == 0
    assert capsys.readouterr().err == (
        f"forktrace: warning: Decisions are not being checked: {refusal}\n"
    )
    session.refusal = None
    windows.tick(69.0 + 59 * 3)
    assert session.observing
    assert windows.failures == 3


def counter() -> Counter:
    return Counter("forks", "Forks.", registry=CollectorRegistry())


def test_the_textfile_is_there_at_once_and_renewed_every_15_seconds(
    tmp_path: Path,
) -> None:
    forks = counter()
    textfile = Textfile(forks, tmp_path, now=100.0)
    written = tmp_path / "forktrace.prom"
    assert "forks_total 0.0" in written.read_text()
    forks.inc()
    textfile.tick(114.9)
    assert "forks_total 0.0" in written.read_text()
    textfile.tick(115.0)
    assert "forks_total 1.0" in written.read_text()


def test_a_directory_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ForktraceError, match="No such file"):
        Textfile(counter(), tmp_path / "missing", now=0.0)


def test_one_that_goes_away_later_is_one_warning_until_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "textfiles"
    directory.mkdir()
    textfile = Textfile(counter(), directory, now=0.0)
    (directory / "forktrace.prom").unlink()
    directory.rmdir()
    textfile.write()
    textfile.write()
    assert capsys.readouterr().err.count("forktrace: warning: Cannot write") == 1
    directory.mkdir()
    textfile.write()
    assert (directory / "forktrace.prom").exists()


def test_without_a_directory_nothing_is_written(tmp_path: Path) -> None:
    Textfile(counter(), None, now=0.0).tick(1e9)
    assert not list(tmp_path.iterdir())
