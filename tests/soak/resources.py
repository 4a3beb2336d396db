"""What the daemon holds over time: resident memory and descriptors."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from tests.live.guest.programs import scrape

SCRAPE_SECONDS = 3.0
KIB_PER_PAGE = 4


@dataclass(frozen=True)
class Held:
    """At one moment, in seconds since the start; memory in KiB."""

    at: float
    resident: int
    descriptors: int


def held(pid: int, at: float) -> Held:
    """Return what a process holds now."""
    process = Path(f"/proc/{pid}")
    resident = int((process / "statm").read_text().split()[1]) * KIB_PER_PAGE
    return Held(at, resident, len(list((process / "fd").iterdir())))


class Scraper:
    """Scrapes as Prometheus does, only more often, and notes what the daemon holds."""

    def __init__(self, pid: int, port: int) -> None:
        """Begin at once."""
        self.held: list[Held] = []
        self.failed: list[str] = []
        self._pid, self._port = pid, port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Let the last scrape end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(SCRAPE_SECONDS):
            try:
                scrape(self._port)
                self.held.append(held(self._pid, time.monotonic() - began))
            except OSError as error:
                self.failed.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Course:
    """How one number went; ``settled`` and ``end`` are medians of quarters.

    The first quarter is left out of all but ``first``: buffers and caches fill then.
    ``hourly`` is the slope of a line through the rest.
    """

    first: int
    settled: float
    end: float
    most: int
    hourly: float


def course(times: Sequence[float], values: Sequence[int]) -> Course:
    """Return the course of at least eight values."""
    quarter = len(values) // 4
    return Course(
        first=values[0],
        settled=median(values[quarter : 2 * quarter]),
        end=median(values[-quarter:]),
        most=max(values),
        hourly=slope(times[quarter:], values[quarter:]) * 3600,
    )


def slope(times: Sequence[float], values: Sequence[int]) -> float:
    """Return that of the line of least squares."""
    middle, level = mean(times), mean(values)
    pairs = zip(times, values)
    risen = sum((at - middle) * (value - level) for at, value in pairs)
    return risen / sum((at - middle) ** 2 for at in times)
