"""systemd hears what it asks for, and nothing while something is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from forktrace.systemd import Watchdog, notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Stand in for systemd, which wants a word at least every 40 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "40000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


def heard(manager: socket.socket) -> list[bytes]:
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(manager.recv(64))
    return found


def test_readiness_is_told(manager: socket.socket) -> None:
    notify("READY=1")
    assert heard(manager) == [b"READY=1"]


def test_a_service_that_is_well_says_so_four_times_as_often_as_it_must(
    manager: socket.socket,
) -> None:
    watchdog = Watchdog(lambda: None, 100.0)
    for second in range(40):
        watchdog.tick(100.0 + second)
    assert heard(manager) == [b"WATCHDOG=1"] * 4


def test_one_that_is_not_well_is_silent_and_says_why_once(
    manager: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    problems: list[str | None] = ["No scrape.", "No scrape.", None]
    watchdog = Watchdog(lambda: problems.pop(0), 0.0)
    watchdog.tick(0.0)
    watchdog.tick(10.0)
    assert heard(manager) == []
    assert capsys.readouterr().err == "forktrace: warning: No scrape.\n"
    watchdog.tick(20.0)
    assert heard(manager) == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("WATCHDOG_USEC", ""), ("WATCHDOG_USEC", "soon"), ("WATCHDOG_PID", "1")],
)
def test_without_a_watchdog_of_ours_nothing_is_looked_at(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    Watchdog(pytest.fail, 0.0).tick(1e9)
    assert heard(manager) == []


def test_after_a_minute_in_which_it_was_stopped_it_is_heard_in_time() -> None:
    """The unit's interval leaves room for the minute and the quarter before it."""
    unit = Path(__file__).parents[2] / "packaging/systemd/forktrace.service"
    (line,) = [
        each for each in unit.read_text().splitlines() if each.startswith("WatchdogSec")
    ]
    seconds = int(line.partition("=")[2])
    assert seconds - seconds / 4 > 2 * 60
