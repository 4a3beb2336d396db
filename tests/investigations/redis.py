"""Why are Redis's forks so slow? A library's guard page, found and taken out.

Runs on the kernel that is looked at, as root. Redis has a library preloaded that maps
half a gigabyte of data and guards its end by MADV_GUARD_INSTALL. ``top`` tells who,
``explain`` tells what and what to do about it, and when that is done ``trace`` tells
what it was worth.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.demo.redis import Redis
from tests.demo.tracer import Tracer
from tests.investigations import guard
from tests.investigations.explained import Record, explain, told

KEYS, VALUE_BYTES = 5_000, 100_000
MAPPED = 512 << 20
SAVES = 2
WINDOW_SECONDS = 5.0

# Somebody else who forks often, and cheaply.
SHELL = "while :; do (:); sleep 0.5; done"


@dataclass(frozen=True)
class Round:
    """Redis with its library guarded in one way: as explained, and as traced.

    ``explained`` is the answer of ``explain --json``.
    """

    guarded_by: str
    pid: int
    explained: Record
    forks: tuple[Record, ...]


@dataclass(frozen=True)
class Found:
    """The whole investigation.

    ``windows`` are those of ``top --json``, ``told`` is what ``explain`` prints.
    """

    kernel: str
    file: str
    mapped_bytes: int
    windows: tuple[Record, ...]
    told: str
    before: Round
    after: Round

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``."""
        (folder / "redis.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Found:
        """Return what ``write`` kept."""
        kept = json.loads((folder / "redis.json").read_text())
        for name in ("before", "after"):
            kept[name] = Round(**kept[name])
        return cls(**kept)


def measure(folder: Path, results: Path, say: Callable[[str], None]) -> Found:
    """Investigate; ``results`` has the library, ``folder`` is in memory."""
    file = folder / "library.data"
    with file.open("wb") as data:
        data.truncate(MAPPED)
    rounds = []
    windows: tuple[Record, ...] = ()
    text = ""
    watch = ("trace", "--json", "--vmas", "--comm", "redis-server")
    with Tracer(folder, "Tracing forks on", *watch) as trace:
        for guarded_by in ("madvise", "mmap"):
            settings = {"GUARDED_FILE": str(file), "GUARDED_BY": guarded_by}
            place = folder / guarded_by
            place.mkdir()
            with Redis(place, guard.preloaded(results, place, settings)) as redis:
                redis.fill(KEYS, VALUE_BYTES)
                say(f"redis-server is up and full, its library guarded by {guarded_by}")
                if not windows:
                    windows = _top(folder, redis)
                    say("top has told who forks")
                    text = told(redis.pid)
                answer = explain(redis.pid)
                say("explain has told why")
                for _ in range(SAVES):
                    redis.save()
                say(f"BGSAVE, {SAVES} times")
                rounds.append(Round(guarded_by, redis.pid, answer, ()))
        forks = trace.end_and_read_forks()
    before, after = (_with_forks(each, forks) for each in rounds)
    return Found(os.uname().release, str(file), MAPPED, windows, text, before, after)


def _with_forks(found: Round, forks: list[Record]) -> Round:
    """Add the last forks of this round's Redis: the first one was for top."""
    own = [fork for fork in forks if fork["pid"] == found.pid][-SAVES:]
    return replace(found, forks=tuple(own))


def _top(folder: Path, redis: Redis) -> tuple[Record, ...]:
    """Look at the host with ``top`` while Redis and a shell fork."""
    interval = ("--interval", str(WINDOW_SECONDS))
    with (
        _shell(),
        Tracer(folder, "Tracing forks on", "top", "--json", *interval) as top,
    ):
        redis.save()
        # Until the window has ended in which the fork was.
        time.sleep(2 * WINDOW_SECONDS)
        return tuple(json.loads(line) for line in top.end().splitlines())


@contextmanager
def _shell() -> Iterator[None]:
    shell = subprocess.Popen(["/bin/sh", "-c", SHELL], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
