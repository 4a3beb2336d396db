"""top on a real terminal: selecting, explaining, and how it is given back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.terminal import ENTER, LEAVE, Terminal

SHOW = (sys.executable, "-m", "tests.unit.shown_top")
DOWN, UP = b"\x1b[B", b"\x1bOA"


@pytest.fixture(scope="module")
def gone() -> int:
    """Return the number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def terminal(gone: int) -> Iterator[Terminal]:
    rows = (f"ours={gone},{os.getpid()}", f"gone={gone}", "third=1")
    terminal = Terminal(24, 100, *SHOW, *rows)
    try:
        terminal.wait_for(selected("ours"))
        yield terminal
    finally:
        terminal.close()


def selected(name: str) -> bytes:
    return b"\x1b[7m" + name.encode()


def said(shown: bytes) -> str:
    """Return it without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def test_arrows_and_letters_select_a_row(terminal: Terminal) -> None:
    for key, name in ((DOWN, "gone"), (b"j", "third"), (DOWN, "third"), (UP, "gone")):
        terminal.press(key)
        terminal.wait_for(selected(name))
    terminal.press(b"k")
    terminal.wait_for(selected("ours"))


def test_the_selected_name_stays_so_when_rows_change_places(terminal: Terminal) -> None:
    terminal.press(DOWN + b"n")
    terminal.wait_for(b"sorted by name")
    first, *_ = re.findall(rb"\x1b\[7m(\w+)", terminal.wait_for(selected("gone")))
    assert first == b"gone"


@pytest.mark.parametrize("key", [b"\r", b"e"])
def test_it_explains_the_process_that_is_there(terminal: Terminal, key: bytes) -> None:
    terminal.press(key)
    told = said(terminal.wait_for(b"not copied"))
    assert f"explain {os.getpid()} ours" in told
    headline = rf"A fork of .* \({os.getpid()}\) would copy [\d,]+ (to [\d,]+ )?of"
    assert re.search(headline, told)
    terminal.press(b"\x1b")
    terminal.wait_for(selected("ours"))
    assert terminal.process.poll() is None


def test_it_says_what_forktrace_explain_says(terminal: Terminal) -> None:
    """Of a process that changes nothing meanwhile."""
    still = subprocess.Popen(["sleep", "infinity"])
    other = Terminal(100, 100, *SHOW, f"sleep={still.pid}")
    try:
        other.wait_for(selected("sleep"))
        other.press(b"e")
        told = said(other.wait_for(b"What /proc cannot tell"))
        alone = subprocess.run(
            [sys.executable, "-m", "forktrace", "explain", str(still.pid)],
            env={**os.environ, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        shown = [line.rstrip() for line in told.splitlines()]
        until = alone.partition("What /proc cannot tell")[0]
        assert [line for line in until.splitlines() if line not in shown] == []
    finally:
        other.close()
        still.kill()
        still.wait()


def test_a_long_explanation_can_be_scrolled(terminal: Terminal) -> None:
    terminal.resize(8, 100)
    terminal.press(b"e")
    terminal.wait_for(b"lines 1-7 of")
    terminal.press(DOWN)
    terminal.wait_for(b"lines 2-8 of")
    terminal.press(b"\x1b[6~\x1b[5~")
    terminal.wait_for(b"lines 2-8 of")


def test_of_a_process_that_is_gone_it_says_so_in_a_line(
    terminal: Terminal, gone: int
) -> None:
    terminal.press(DOWN + b"e")
    told = said(terminal.wait_for(f"There is no process {gone}.".encode()))
    assert "Traceback" not in told
    terminal.press(b"q")
    terminal.wait_for(selected("gone"))
    terminal.press(b"q")
    assert terminal.end() == 0


@pytest.mark.parametrize("keys", [b"", b"e"], ids=["table", "explanation"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(
    terminal: Terminal, keys: bytes, number: int
) -> None:
    if keys:
        terminal.press(keys)
        terminal.wait_for(b"explain ")
    terminal.process.send_signal(number)
    assert terminal.end() == 0
    assert terminal.is_intact()
    assert b"it ended" in terminal.shown.rpartition(LEAVE)[2]


def test_an_exception_gives_the_terminal_back() -> None:
    code = (
        "from forktrace.views.terminal import Screen\n"
        "with Screen() as screen:\n"
        "    screen.show(['shown'])\n"
        "    raise OSError('what went wrong')"
    )
    terminal = Terminal(24, 100, sys.executable, "-c", code)
    try:
        assert terminal.end() == 1
        assert terminal.is_intact()
        assert b"what went wrong" in terminal.shown.rpartition(LEAVE)[2]
    finally:
        terminal.close()


def test_ctrl_z_gives_it_to_the_shell_and_fg_takes_it_again() -> None:
    terminal = Terminal(24, 100, "bash", "--norc", "--noediting", "-i")
    try:
        terminal.press(" ".join((*SHOW, "ours=1", "other=1")).encode() + b"\n")
        terminal.wait_for(selected("ours"))
        terminal.press(b"\x1a")
        shown = terminal.wait_for(b"Stopped")
        assert LEAVE in shown
        terminal.press(b"echo $(stty -a | grep -c -e ' -echo ' -e '-icanon') off\n")
        terminal.wait_for(b"0 off")
        terminal.press(b"fg\n")
        assert ENTER in terminal.wait_for(selected("ours"))
        terminal.press(DOWN)
        terminal.wait_for(selected("other"))
        terminal.press(b"q")
        terminal.wait_for(b"it ended")
        terminal.press(b"exit\n")
        assert terminal.end() == 0
        assert terminal.is_intact(times=2)
    finally:
        terminal.close()


def test_without_a_keyboard_no_row_is_selected() -> None:
    command = f"{' '.join(SHOW)} ours=1 < /dev/null"
    terminal = Terminal(24, 100, "sh", "-c", command)
    try:
        shown = terminal.wait_for(b"ours")
        assert b"\x1b[7m" not in shown
        assert b"Enter" not in shown
    finally:
        terminal.close()
