"""What all the programs have in common: started, waited for, forked once, ended."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from forktrace.errors import ForktraceError
from tests.patience import PATIENCE

POLL_SECONDS = 0.2

Entered = TypeVar("Entered", bound="Server")


class Server(ABC):
    """A program that forks when told to; a context manager, up on entry.

    It has forked before then: the first fork of a process may still change its page
    tables. Raises ForktraceError where there is no such program or it does not live.
    """

    user: str | None = None
    ended_by = signal.SIGTERM
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path) -> None:
        """Choose a place in ``folder``; nothing is started yet."""
        self.name = type(self).__name__.lower()
        self.folder = folder / self.name
        self._log = self.folder / "log"

    @abstractmethod
    def prepared(self) -> Sequence[str | Path]:
        """Make ready what it needs in its folder; return the command that runs it."""

    @abstractmethod
    def is_up(self) -> bool:
        """Tell whether it has started and can be told to fork."""

    @abstractmethod
    def fork(self) -> None:
        """Have it fork once, and return when it has."""

    def __enter__(self: Entered) -> Entered:
        """Start it, wait until it is up, and have it fork once."""
        self.folder.mkdir(exist_ok=True)
        command = self.prepared()
        try:
            with self._log.open("wb") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    user=self.user,
                    cwd=self.folder,
                )
        except FileNotFoundError as error:
            raise ForktraceError(
                f"There is no {error.filename} on this machine.", "make setup"
            ) from None
        try:
            self.wait_until(self.is_up, "come up")
            self.fork()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it in the way it likes best, then in any."""
        with self.process:
            self.process.send_signal(self.ended_by)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()

    @property
    def pid(self) -> int:
        """The process that forks."""
        return self.process.pid

    def said(self, what: str) -> int:
        """Return how often it has said something."""
        return self._output().count(what)

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for ``true()``; raises ForktraceError when it does not come about."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if self.process.poll() is not None:
                raise self._failure("ended by itself")
            if time.monotonic() > deadline:
                raise self._failure(f"did not {what} in {PATIENCE:g} s")
            time.sleep(POLL_SECONDS)

    def _output(self) -> str:
        return self._log.read_text(errors="replace")

    def _failure(self, what: str) -> ForktraceError:
        last = (self._output().splitlines() or ["it said nothing"])[-1]
        return ForktraceError(f"{self.name} {what}: {last}")


class Obeying(Server):
    """One that says ``up``, then ``ended 0`` for each line on stdin: it has forked."""

    _forks = 0

    def is_up(self) -> bool:
        """Tell whether it has said so."""
        return self.said("up") > 0

    def fork(self) -> None:
        """Tell it to, and wait until its child has ended."""
        assert self.process.stdin
        self.process.stdin.write(b"fork\n")
        self.process.stdin.flush()
        self._forks += 1
        self.wait_until(lambda: self.said("ended 0") >= self._forks, "fork")
