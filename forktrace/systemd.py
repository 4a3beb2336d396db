"""What systemd is told of a service (sd_notify): it is ready, and it is well."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from forktrace.log import logger


def notify(state: str) -> None:
    """Tell systemd, where it asks to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        try:
            told.connect(address)
            told.sendall(state.encode())
        except OSError:
            # Not being able to tell is no reason not to trace.
            return


class Watchdog:
    """Tells systemd that all is well, four times as often as it wants to hear it."""

    def __init__(self, problem: Callable[[], str | None], now: float) -> None:
        """``problem`` says what is not well, if anything; WATCHDOG_USEC how often."""
        self._problem = problem
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = os.environ.get("WATCHDOG_USEC", "") if ours else ""
        self._every = int(microseconds) / 4e6 if microseconds.isdecimal() else 0.0
        self._due = now
        self._complained = False

    def tick(self, now: float) -> None:
        """Tell when it is time, or say on stderr why systemd is not told."""
        if not self._every or now < self._due:
            return
        self._due = now + self._every
        problem = self._problem()
        if problem is None:
            notify("WATCHDOG=1")
        elif not self._complained:
            logger.warning("%s", problem)
        self._complained = problem is not None
