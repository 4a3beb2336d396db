"""Ctrl-C and SIGTERM as a flag that loops look at."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Set once SIGINT, SIGTERM or SIGHUP came; a second one ends the process at once.

    The system call under way is interrupted, so a loop that waits in the kernel comes
    back to look. Before there is one, a signal ends the process at once.
    """

    def __init__(self) -> None:
        """Take over the signals; only the main thread may."""
        self._set = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        """Tell whether it is time to end."""
        return self._set

    def set(self) -> None:
        """End the loop from within."""
        self._set = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._set = True
        signal.signal(number, signal.SIG_DFL)
