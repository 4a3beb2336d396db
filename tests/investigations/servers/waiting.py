"""Start a program, wait for what it says or does, and end it whatever happens."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from forktrace.errors import ForktraceError

SECONDS = 120.0
POLL_SECONDS = 0.2


class Started:
    """A program with its output in a file, as another user if ``user`` names one."""

    def __init__(
        self, log: Path, command: Sequence[str | Path], user: str | None = None
    ) -> None:
        """Start it; raises ForktraceError where there is no such program."""
        self.log = log
        self._name = Path(command[0]).name
        with log.open("wb") as file:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    user=user,
                    cwd=log.parent,
                )
            except FileNotFoundError as error:
                raise ForktraceError(
                    f"There is no {error.filename} on this machine.", "make setup"
                ) from None

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def tell(self, word: str) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def said(self) -> str:
        """Return its output so far."""
        return self.log.read_text(errors="replace")

    def await_said(self, what: str, times: int = 1) -> None:
        """Wait until it has said something so often."""
        self.await_true(lambda: self.said().count(what) >= times, f'say "{what}"')

    def await_true(self, true: Callable[[], bool], what: str) -> None:
        """Wait for ``true()``; raises ForktraceError when it does not come about."""
        deadline = time.monotonic() + SECONDS
        while not true():
            if self.process.poll() is not None:
                raise self._failure("ended by itself")
            if time.monotonic() > deadline:
                raise self._failure(f"did not {what} in {SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it in the way it likes best, then in any."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def _failure(self, what: str) -> ForktraceError:
        last = (self.said().splitlines() or ["it said nothing"])[-1]
        return ForktraceError(f"{self._name} {what}: {last}")


def children(pid: int) -> set[int]:
    """Return the processes that ``pid`` has forked and that still live."""
    tasks = Path(f"/proc/{pid}/task")
    listed = (task / "children" for task in tasks.iterdir())
    return {int(word) for file in listed for word in file.read_text().split()}
