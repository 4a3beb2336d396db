"""Ctrl-C and SIGTERM as a flag that loops look at, and readiness for systemd."""

from __future__ import annotations

import os
import signal
import socket
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


def notify_ready() -> None:
    """Tell systemd that the probes are attached (sd_notify), where it asks for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        try:
            notify.connect(address)
            notify.sendall(b"READY=1")
        except OSError:
            # Not being able to tell is no reason not to trace.
            return
