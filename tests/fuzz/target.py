"""What a fuzzing target is: a parser, what it may refuse with, and where to begin."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from forktrace.errors import ForktraceError

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Target:
    """``feed`` parses bytes; only ``refusals`` may come out of it.

    ``seeds`` are inputs that it takes, so that the fuzzer gets past the first bytes.
    """

    name: str
    feed: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    refusals: tuple[type[Exception], ...] = (ForktraceError,)

    def try_one(self, data: bytes) -> None:
        """Feed an input; anything but a refusal gets out."""
        try:
            self.feed(data)
        except self.refusals as refusal:
            said = getattr(refusal, "message", str(refusal))
            assert "\n" not in said, f"more than a line: {said!r:.300}"
            assert len(said) < 1000, f"no line for people: {said!r:.300}"

    @property
    def cases(self) -> list[Path]:
        """The inputs that once went wrong."""
        return sorted((CASES / self.name).glob("*"))


@lru_cache(maxsize=1)
def scratch() -> Path:
    """Return a folder in memory for parsers that open files; it goes with us."""
    folder = Path(tempfile.mkdtemp(prefix="forktrace-fuzz-", dir="/dev/shm"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def as_file(name: str, data: bytes) -> Path:
    """Return a file that holds ``data``."""
    path = scratch() / name
    path.write_bytes(data)
    return path
