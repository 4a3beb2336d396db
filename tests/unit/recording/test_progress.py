"""Progress is one line, kept up to date in place, and only on a terminal."""

from __future__ import annotations

import io
import os

import pytest

from forktrace.recording.progress import ProgressLine
from tests.unit.recording.test_writer import Clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1


@pytest.fixture(autouse=True)
def in_the_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())


def test_on_a_terminal_it_stays_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream, clock = Terminal(), Clock()
    progress = ProgressLine(stream, clock)
    for tenth in range(0, 21):
        clock.now = tenth / 10
        progress.show(1000 + tenth, "2 KiB")
    progress.clear()
    shown = stream.getvalue()
    assert "\n" not in shown
    assert shown.startswith("\r0 s, 1,000 forks, 2 KiB")
    assert "2 s, 1,020 forks" in shown
    # At most twice a second, and the last leaves the line empty.
    assert shown.count("forks") == 5
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_elsewhere_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    for stream in (io.StringIO(), Terminal()):
        progress = ProgressLine(stream, Clock())
        progress.show(1, "1 B")
        progress.clear()
        assert stream.getvalue() == ""
