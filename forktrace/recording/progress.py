"""How a recording, or reading one, is coming along: one line, kept up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from forktrace.views.terminal import can_take_over

_SECONDS = 0.5


class ProgressLine:
    """Shows nothing at all where there is no terminal."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to ``stream``."""
        self._stream = stream if can_take_over(stream) else None
        self._clock = clock
        self._began = clock()
        self._shown_at = float("-inf")

    def show(self, forks: int, far: str) -> None:
        """Show how far it is in forks and in other words, at most twice a second."""
        now = self._clock()
        if self._stream is None or now - self._shown_at < _SECONDS:
            return
        self._shown_at = now
        seconds = f"{int(now - self._began)} s"
        self._write(f"{seconds}, {forks:,} forks, {far}")

    def clear(self) -> None:
        """Leave an empty line for what comes."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r{text}\x1b[K")
            self._stream.flush()
