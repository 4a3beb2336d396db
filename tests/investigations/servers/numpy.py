"""Python with NumPy's arrays in memory; see numpy_forks."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.investigations.servers.waiting import Started

REPOSITORY = Path(__file__).resolve().parents[3]


class Numpy:
    """The interpreter; a context manager, its arrays filled on entry."""

    def __init__(self, folder: Path) -> None:
        """Choose the places; nothing is started yet."""
        self._folder = folder / "numpy"
        self._python: Started | None = None
        self._forks = 0

    def __enter__(self) -> Numpy:
        """Start it and have it fork once."""
        self._folder.mkdir()
        module = "tests.investigations.servers.numpy_forks"
        path = f"PYTHONPATH={REPOSITORY}"
        data = self._folder / "array"
        command: list[str | Path] = ["env", path, sys.executable, "-m", module, data]
        self._python = Started(self._folder / "log", command)
        try:
            self._python.await_said("up")
            self.fork()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._python:
            self._python.end()

    @property
    def pid(self) -> int:
        """The interpreter."""
        assert self._python is not None, "it is not up"
        return self._python.pid

    def fork(self) -> None:
        """Have it fork, and wait until the child has ended."""
        assert self._python is not None, "it is not up"
        self._forks += 1
        self._python.tell("fork")
        self._python.await_said("ended 0", self._forks)
