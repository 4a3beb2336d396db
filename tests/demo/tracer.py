"""A forktrace command that runs beside the demo, its output kept in files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError
from tests.patience import PATIENCE

FORKTRACE = Path(sys.executable).with_name("forktrace")

POLL_SECONDS = 0.2


class Tracer:
    """``forktrace`` with some arguments; a context manager, attached on entry.

    ``ready`` is the beginning of the line on stderr that says so. Raises
    ForktraceError with the command's own words when it ends too early.
    """

    def __init__(self, folder: Path, ready: str, *argv: str) -> None:
        """Choose the places; nothing is started yet."""
        self._argv = argv
        self._ready = ready
        self._stdout = folder / f"{argv[0]}.out"
        self._stderr = folder / f"{argv[0]}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Tracer:
        """Start it and wait until it says that it is ready."""
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [FORKTRACE, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        deadline = time.monotonic() + PATIENCE
        try:
            while not self.said(self._ready):
                if self._process.poll() is not None:
                    raise self._failure("ended by itself")
                if time.monotonic() > deadline:
                    raise self._failure(f"was not ready in {PATIENCE:g} s")
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def said(self, beginning: str) -> str:
        """Return what follows ``beginning`` in its line on stderr, else nothing."""
        for line in self._stderr.read_text().splitlines(keepends=True):
            if line.startswith(beginning) and line.endswith("\n"):
                return line[len(beginning) :].strip()
        return ""

    def end(self) -> str:
        """Send it SIGTERM as an operator would, and return what it wrote to stdout."""
        assert self._process is not None, "it is not up"
        self._process.terminate()
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._failure(f"did not end in {PATIENCE:g} s") from None
        if status != 0:
            raise self._failure(f"exited with {status}")
        return self._stdout.read_text()

    def end_and_read_forks(self) -> list[dict[str, Any]]:
        """End ``trace --json`` and return the forks that it told of."""
        return forks_in(self.end())

    def _failure(self, what: str) -> ForktraceError:
        said = self._stderr.read_text().splitlines() or ["it said nothing"]
        return ForktraceError(f"forktrace {self._argv[0]} {what}: {said[-1]}")


def forks_in(told: str) -> list[dict[str, Any]]:
    """Return the forks among the objects of ``trace --json``; others have a type."""
    records = map(json.loads, told.splitlines())
    return [record for record in records if "type" not in record]
