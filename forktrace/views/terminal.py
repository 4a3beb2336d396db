"""A terminal taken over for a while: whole screen, single keys, then given back."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Any, TextIO

from forktrace.views import colour, keys

_REST_SECONDS = 0.05
"""How long what a key sends may take to come, through a network too."""


def can_take_over(stream: TextIO) -> bool:
    """Tell whether ``stream`` is a terminal that can do more, and is ours just now.

    The kernel stops whom a shell put into the background once it changes the settings
    (SIGTTOU); a terminal of another session is that session's.
    """
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("", "dumb"):
        return False
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:
        return False


class Screen:
    """The alternate screen of the terminal, and its keyboard; a context manager."""

    def __init__(self) -> None:
        """Nothing is touched yet."""
        # Only here: rich costs memory that a daemon does not need.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        # What a shell exported is not what the window has become since.
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
        self._console = Console(highlight=False)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, transient=True
        )
        self._settings: list[Any] | None = None
        self._suspended = False
        self._on_suspend: Any = signal.SIG_DFL

    def __enter__(self) -> Screen:
        """Take it over; the settings come back with ``__exit__``."""
        self._on_suspend = signal.signal(signal.SIGTSTP, self._suspend)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back as it was."""
        signal.signal(signal.SIGTSTP, self._on_suspend)
        self._give_back()

    def _take(self) -> None:
        try:
            if self.has_keys:
                self._settings = termios.tcgetattr(sys.stdin)
                tty.setcbreak(sys.stdin)
            self._live.start(refresh=True)
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        try:
            self._live.stop()
        finally:
            if self._settings is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Note Ctrl-Z: what is being written now has to be finished first."""
        self._suspended = True

    def _stop_as_asked(self) -> None:
        """Give it to the shell, stop, and take it over again once continued."""
        self._suspended = False
        self._give_back()
        ours = signal.signal(signal.SIGTSTP, self._on_suspend)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self._take()

    @property
    def has_keys(self) -> bool:
        """Tell whether somebody can type here."""
        return sys.stdin.isatty()

    @property
    def rows(self) -> int:
        """How many lines there is room for now."""
        return self._console.size.height

    @property
    def columns(self) -> int:
        """How many characters a line has room for now."""
        return self._console.size.width

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is on it; what is too wide is cut off."""
        from rich.text import Text  # noqa: PLC0415

        if colour.wanted(sys.stdout):
            lines = [colour.coloured(line) for line in lines]
        text = Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop")
        self._live.update(text, refresh=True)

    def keys(self) -> list[str]:
        """Return the keys typed since, as ``keys.parse`` does, without waiting.

        Call it regularly: Ctrl-Z is seen to here.
        """
        if self._suspended:
            self._stop_as_asked()
        typed, seconds = b"", 0.0
        while self.has_keys and select.select([sys.stdin], [], [], seconds)[0]:
            more = os.read(sys.stdin.fileno(), 64)
            typed += more
            if not (more and keys.unfinished(typed)):
                break
            seconds = _REST_SECONDS
        return keys.parse(typed.decode(errors="replace"))
