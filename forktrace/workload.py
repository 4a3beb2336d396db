"""A command that is started to be traced: ``trace -- CMD``, ``record -- CMD``."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from forktrace.errors import ForktraceError
from forktrace.text import printable

_STDERR = 2
_SILENT_SECONDS = 2.0


class Workload:
    """A command with its arguments; it runs as the user that forktrace runs as.

    It has forktrace's environment, folder, terminal and process group, so that Ctrl-C
    goes to both.
    """

    def __init__(self, words: Sequence[str], *, quiet: bool = False) -> None:
        """Check that there is such a command; raises ForktraceError.

        ``quiet``: what it prints goes to stderr, as stdout is for what we print.
        """
        self.words = tuple(words)
        self._name = printable(self.words[0])
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None
        if shutil.which(self.words[0]) is None:
            raise ForktraceError(
                f"There is no command {self._name}.",
                "Write it as in: -- redis-server --port 7000",
            )

    def start(self) -> int:
        """Start it and return its process id; raises ForktraceError."""
        try:
            self._process = subprocess.Popen(
                self.words, stdout=_STDERR if self._quiet else None
            )
        except OSError as error:
            raise ForktraceError(
                f"{self._name} cannot be started: {error.strerror}."
            ) from error
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def end(self) -> None:
        """See to it that it ends, and say how it did if that was no success."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SILENT_SECONDS)
        if process.poll() is None:
            _say(f"{self._name} was sent SIGTERM and still runs; Ctrl-C leaves it so.")
        status = process.wait()
        self._process = None
        if status < 0:
            _say(f"{self._name} was ended by a signal: {signal.strsignal(-status)}.")
        elif status:
            _say(f"{self._name} ended with status {status}.")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
