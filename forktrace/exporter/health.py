"""Whether the daemon does its work: its loop ran lately, and a scrape can be made."""

from __future__ import annotations

import time
from collections import deque

from prometheus_client.registry import Collector

LATELY_SECONDS = 90.0
"""More than the minute for which somebody may stop a process to look at it."""


class Health:
    """Tells what is wrong, to HTTP's /healthz and to systemd alike."""

    def __init__(self, collector: Collector) -> None:
        """``collector`` is what scrapes read."""
        self._collector = collector
        self.ran()

    def ran(self) -> None:
        """Note that the loop comes by."""
        self._last = time.monotonic()

    def problem(self) -> str | None:
        """Say what is wrong, None when nothing is."""
        idle = time.monotonic() - self._last
        if idle > LATELY_SECONDS:
            return f"The daemon's loop has not run for {idle:.0f} s."
        try:
            deque(self._collector.collect(), maxlen=0)
        except Exception as error:  # Whatever it is, a scrape meets it too.
            return f"The metrics cannot be read: {error}"
        return None
