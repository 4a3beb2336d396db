"""Wait for another process as long as it takes, and say now and then for what.

A busy host is the very one that people look into: there is no time after which work
counts as hung. Who waits may end it with Ctrl-C.
"""

from __future__ import annotations

import select
from typing import Protocol

from forktrace.log import logger

FIRST_WORD_SECONDS = 10.0
"""After how long the first line is written; then again when that has doubled."""


class Readable(Protocol):
    """A socket, a pipe, a file."""

    def fileno(self) -> int:
        """Return its descriptor."""


def wait(answer: Readable, doing: str) -> None:
    """Wait until ``answer`` can be read, or its other end is closed."""
    ready = select.poll()
    ready.register(answer, select.POLLIN)
    waited, pause = 0.0, FIRST_WORD_SECONDS
    while not ready.poll(pause * 1000):
        waited += pause
        pause = waited
        logger.info(
            "forktrace: still %s after %.0f s; this host is busy.", doing, waited
        )
