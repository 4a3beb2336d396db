"""A terminal taken over for a while: whole screen, single keys, then given back."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Any, TextIO

from forktrace.views import colour


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

    def __enter__(self) -> Screen:
        """Take it over; the settings come back with ``__exit__``."""
        if sys.stdin.isatty():
            self._settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back as it was."""
        self._live.stop()
        if self._settings is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    @property
    def rows(self) -> int:
        """How many lines there is room for now."""
        return self._console.size.height

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is on it; what is too wide is cut off."""
        from rich.text import Text  # noqa: PLC0415

        if colour.wanted(sys.stdout):
            lines = [colour.coloured(line) for line in lines]
        text = Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop")
        self._live.update(text, refresh=True)

    def keys(self) -> str:
        """Return what was typed since, without waiting."""
        if self._settings is None or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode(errors="replace")
