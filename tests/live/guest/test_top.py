"""``top`` in a terminal and as lines: who forks is there, the terminal stays intact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.guest.programs import FORKTRACE, PATIENCE, keep, wait_until
from tests.terminal import LEAVE, Terminal

pytestmark = pytest.mark.thorough

SHELL = "while :; do (:); sleep 0.1; done"


@pytest.fixture(autouse=True)
def forking_shell() -> Iterator[int]:
    """Return the number of a shell that forks."""
    shell = subprocess.Popen(["/bin/sh", "-c", SHELL])
    try:
        yield shell.pid
    finally:
        shell.kill()
        shell.wait()


class Tmux:
    """A shell in a tmux window of its own, where somebody types and looks."""

    def __init__(self, rows: int, columns: int) -> None:
        size = ("-x", str(columns), "-y", str(rows))
        self._do("new-session", "-d", *size, "PS1='$ ' exec sh")

    def type(self, line: str) -> None:
        self._do("send-keys", line, "Enter")

    def resize(self, rows: int, columns: int) -> None:
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> list[str]:
        return self._do("capture-pane", "-p").splitlines()

    def history(self) -> str:
        """Return what was ever on the screen, and what is on it."""
        return self._do("capture-pane", "-p", "-S", "-")

    def wait_for(self, *texts: str) -> list[str]:
        """Wait until all of these are on the screen; return it."""
        wait_until(lambda: all(text in "\n".join(self.screen()) for text in texts))
        return self.screen()

    @property
    def on_other_screen(self) -> bool:
        return self._do("display-message", "-p", "#{alternate_on}").strip() == "1"

    def close(self) -> None:
        self._do("kill-server")

    @staticmethod
    def _do(*words: str) -> str:
        return subprocess.run(
            ["tmux", "-L", "forktrace", "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        ).stdout


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (50, 200)])
def test_it_fits_the_window_resized_too_and_a_kill_leaves_the_shell_as_it_was(
    rows: int, columns: int
) -> None:
    tmux = Tmux(rows, columns)
    try:
        tmux.type("echo typed before")
        tmux.type(f"{' '.join(FORKTRACE)} top --interval 1 & echo $! > /tmp/top; fg")
        screen = tmux.wait_for("FORKS/s", "\nsh ", "anon_vma")
        keep(f"top-{columns}x{rows}.txt", "\n".join(screen))
        assert tmux.on_other_screen
        assert screen[0].startswith("forktrace on ")
        assert len(screen) <= rows
        assert max(map(len, screen)) <= columns
        tmux.resize(12, 70)
        wait_until(lambda: len(tmux.screen()) <= 12)
        screen = tmux.wait_for("FORKS/s", "\nsh ")
        assert screen[0].startswith("forktrace on ")
        assert max(map(len, screen)) <= 70
        os.kill(int(Path("/tmp/top").read_text()), signal.SIGTERM)
        wait_until(lambda: not tmux.on_other_screen)
        # Its last words may have moved the line above a window of 12 rows.
        wait_until(lambda: "typed before" in tmux.history())
        # What is typed while it still speaks would move out as well.
        wait_until(lambda: [line for line in tmux.screen() if line][-1] == "$")
        tmux.type("stty | tr -d '\\n'; echo echoed $((6 * 7))")
        screen = tmux.wait_for("echoed 42", "$((6 * 7))")
        assert not tmux.on_other_screen
        assert not any("-echo" in line or "-icanon" in line for line in screen)
    finally:
        tmux.close()


def test_keys_sort_and_q_gives_the_terminal_back() -> None:
    terminal = Terminal(24, 80, *FORKTRACE, "top", "--self-stats")
    try:
        terminal.wait_for(b"anon_vma")
        assert b"tracing took" in terminal.shown
        terminal.press(b"n")
        terminal.wait_for(b"sorted by name")
        terminal.resize(50, 200)
        terminal.press(b"h")
        terminal.wait_for(b"q quit")
        terminal.press(b"q")
        assert terminal.end() == 0
        assert terminal.is_intact()
        assert b"copy_page_range" in terminal.shown.rpartition(LEAVE)[2]
    finally:
        terminal.close()


def test_enter_explains_the_process_of_the_row_while_it_traces(
    forking_shell: int,
) -> None:
    terminal = Terminal(50, 100, *FORKTRACE, "top", "--interval", "1", "--comm", "sh")
    try:
        terminal.wait_for(b"anon_vma")
        terminal.press(b"\r")
        terminal.wait_for(f"A fork of sh ({forking_shell}) would copy".encode())
        terminal.press(b"q")
        terminal.wait_for(b"FORKS/s")
        terminal.press(b"q")
        assert terminal.end() == 0
        assert terminal.is_intact()
    finally:
        terminal.close()


def test_a_bare_forktrace_shows_it_while_it_serves_and_sigterm_ends_both() -> None:
    terminal = Terminal(24, 80, *FORKTRACE)
    try:
        terminal.wait_for(b"FORKS/s")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 0
        assert terminal.is_intact()
        assert b"Metrics on http://127.0.0.1:19435/metrics" in terminal.shown
    finally:
        terminal.close()


def test_lines_where_there_is_no_terminal() -> None:
    command = [*FORKTRACE, "top", "--interval", "1", "--count", "2"]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    assert result.stdout.count(b"FORKS/s") == 2
    assert b"\x1b" not in result.stdout
    assert b"\nsh " in result.stdout


def test_json_an_object_each_time(forking_shell: int) -> None:
    command = [*FORKTRACE, "top", "--json", "--interval", "1", "--count", "2"]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    windows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [window["schema"] for window in windows] == [1, 1]
    (shell,) = (use for use in windows[1]["processes"] if use["comm"] == "sh")
    assert shell["forks"] > 0
    assert forking_shell in shell["pids"]
    assert (
        shell["max_duration_ns"]
        >= shell["mean_duration_ns"]
        > shell["copy_ns"] / (shell["forks"] + 1)
    )
