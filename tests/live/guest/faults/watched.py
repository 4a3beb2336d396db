"""A daemon under test, and forks that are known to the last one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forktrace.kinds import fork_once
from tests.live.guest.programs import Forktrace, Samples, growth, scrape, words_of

OK = {"outcome": "ok"}


class Daemon(Forktrace):
    """``forktrace run``, and how many forks it counts."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        """Start it; what it says goes to a folder of its own."""
        folder = folder / f"run-{port}"
        folder.mkdir()
        self.port = port
        listen = ("--listen", f"127.0.0.1:{port}")
        super().__init__(folder, "run", *listen, *options)

    def samples(self) -> Samples:
        return scrape(self.port)

    def warnings(self, about: str) -> list[str]:
        """Return what it warned of that names this."""
        said = words_of(self.errors())
        return [line for line in said if "warning" in line and about in line]

    def value(self, name: str, **labels: str) -> float:
        return growth({}, self.samples(), name, **labels)

    @contextmanager
    def counting_exactly(self) -> Iterator[list[int]]:
        """Hold the forks counted within against the sum of the list it gives."""
        before = self.samples()
        made: list[int] = []
        yield made
        after = self.samples()
        counted = growth(before, after, "forktrace_forks_total", **OK)
        lost = growth(before, after, "forktrace_lost_total", stage="fork")
        assert (counted, lost) == (sum(made), 0)


@contextmanager
def daemon(folder: Path, port: int, *options: str) -> Iterator[Daemon]:
    """Run one until the end, which must be a good one."""
    running = Daemon(folder, port, *options)
    try:
        yield running
        assert running.stop() == 0, running.errors()
        assert "Traceback" not in running.errors()
    finally:
        running.kill()


def fork(times: int) -> int:
    """Make plain forks of this process; returns how many."""
    for _ in range(times):
        fork_once()
    return times
