"""The table that ``run`` keeps up to date on a terminal; silent anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TextIO

from forktrace.model import Totals
from forktrace.views import lines

REFRESH_SECONDS = 1.0


class LiveTable:
    """Redraws the totals in place on a terminal, by rich; a context manager."""

    def __init__(self, stream: TextIO) -> None:
        """Do nothing unless ``stream`` is a terminal."""
        self._stream = stream
        self._live: Any = None
        self._due = 0.0

    def __enter__(self) -> LiveTable:
        """Take the terminal over."""
        if self._stream.isatty():
            # Only here: rich costs memory that a daemon does not need.
            from rich.console import Console  # noqa: PLC0415
            from rich.live import Live  # noqa: PLC0415

            console = Console(file=self._stream, highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back as it was."""
        if self._live:
            self._live.stop()

    def show(self, read: Callable[[], Totals]) -> None:
        """Redraw once a second."""
        if self._live is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + REFRESH_SECONDS
        from rich.text import Text  # noqa: PLC0415

        self._live.update(Text("\n".join(lines.summary(read()))), refresh=True)
