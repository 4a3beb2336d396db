"""Where the lab keeps what it downloads, and whose turn it is."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.errors import LabError

REPOSITORY = Path(__file__).resolve().parents[2]

TURN_SECONDS = 3600
"""So long a guest waits for others to end before that is called an error."""


def cache_folder() -> Path:
    """Return the cache: $FORKTRACE_CACHE, else .cache in the repository."""
    folder = Path(os.environ.get("FORKTRACE_CACHE") or REPOSITORY / ".cache").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def cache_lock(part: str = "") -> Iterator[Path]:
    """Hold the cache, or a part of it, for one process: two at once would collide."""
    folder = cache_folder()
    with (folder / f"{part}lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@contextmanager
def guest_slot() -> Iterator[int]:
    """Wait for a CPU that no guest of ours keeps busy, and hold its number.

    The kernel gives a slot back however its holder ends. Raises LabError when none
    is free within an hour.
    """
    deadline = time.monotonic() + TURN_SECONDS
    waiting = False
    while time.monotonic() < deadline:
        for number in range(os.cpu_count() or 1):
            with (cache_folder() / f"guest-{number}.lock").open("w") as slot:
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield number
                return
        if not waiting:
            print("Waiting for another guest to end…", file=sys.stderr, flush=True)
        waiting = True
        time.sleep(0.5)
    raise LabError("Other guests of this lab keep all CPUs busy.", "Is one stuck?")
