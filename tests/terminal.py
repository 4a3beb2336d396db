"""A pseudo-terminal with a program in it: what is shown, what is typed, how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from tests.patience import PATIENCE

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
"""What has a terminal show its other screen, and come back."""


class Terminal:
    """A pseudo-terminal with a program in its foreground."""

    def __init__(self, rows: int, columns: int, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            # In the terminal's foreground, as what a shell starts is.
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
        self._theirs = theirs
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait_for(self, text: bytes) -> bytes:
        """Read until ``text`` was shown once more; return what was shown meanwhile."""
        start, deadline = len(self.shown), time.monotonic() + PATIENCE
        while text not in self.shown[start:]:
            assert time.monotonic() < deadline, self.shown[start:]
            self._read()
        return self.shown[start:]

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self._read()
        while select.select([self._ours], [], [], 0.2)[0]:
            self._read()
        return self.process.returncode

    def is_intact(self, times: int = 1) -> bool:
        """Tell whether it left the other screen, with the settings as they were."""
        left = self.shown.count(ENTER) == self.shown.count(LEAVE) == times
        return left and termios.tcgetattr(self._theirs) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.2)[0]:
            self.shown += os.read(self._ours, 1 << 16)
