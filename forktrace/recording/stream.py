"""Writes a recording to standard output: a pipe to ``forktrace report -``, or ssh."""

from __future__ import annotations

import os
import sys

from forktrace.errors import UsageError
from forktrace.recording.writer import Writer

_STANDARD_OUTPUT = 1


def check_stream() -> None:
    """Raise UsageError if standard output is a terminal, which shows no gzip."""
    if sys.stdout.isatty():
        raise UsageError(
            "A recording is nothing to look at on a terminal.",
            "Pipe it: forktrace record -o - | forktrace report -",
        )


class Stream(Writer):
    """A recording whose bytes are gone once they are written.

    The same is held back as for a file, and no more: where the reader is slow, the
    kernel's ring buffer fills, and what it has no room for is counted as lost.
    """

    @property
    def place(self) -> str:
        """What the recording is written to, in words."""
        return "standard output"

    def _open(self) -> None:
        check_stream()
        self._file = os.dup(_STANDARD_OUTPUT)

    def _take_back(self) -> None:
        """Write no more: to a reader, a member that was cut off is the end."""
        self.close()

    def _sync(self) -> None:
        """Nothing is to be done for a pipe."""

    def abandon(self) -> None:
        """Nothing was written, and nothing was moved."""
