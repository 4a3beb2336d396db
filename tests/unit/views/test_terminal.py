"""A terminal is taken over only by whom it belongs to just now."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.patience import PATIENCE

ASK = """
import sys
from forktrace.views.terminal import can_take_over
print(can_take_over(sys.stdout))
"""
TAKE = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
IN_THE_BACKGROUND = f"""
import os, subprocess, sys
{TAKE}
subprocess.run([sys.executable, "-c", {ASK!r}], preexec_fn=os.setpgrp)
"""


def on_a_terminal(code: str, term: str = "xterm") -> str:
    """Return what a program that leads a session says to a new terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": term},
            start_new_session=True,
            timeout=PATIENCE,
            check=True,
        )
        return os.read(ours, 4096).decode().strip()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("code", "term", "answer"),
    [
        (TAKE + ASK, "xterm", "True"),
        (TAKE + ASK, "dumb", "False"),
        (TAKE + ASK, "", "False"),
        (IN_THE_BACKGROUND, "xterm", "False"),
        (ASK, "xterm", "False"),
    ],
    ids=["foreground", "dumb", "no TERM", "background", "another session's"],
)
def test_only_the_foreground_of_a_capable_terminal_takes_it(
    code: str, term: str, answer: str
) -> None:
    assert on_a_terminal(code, term) == answer
