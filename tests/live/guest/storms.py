"""Processes that fork as fast as they can, for a while or until it is enough."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.live.guest.programs import Workload

# 2,000 forks, because one takes milliseconds on an emulated CPU; ask for 6,250 of each
# process, and give it half an hour, to see 50,000.
STORM_PROCESSES = 8
STORM_FORKS = int(os.environ.get("FORKTRACE_STORM_FORKS", "250"))


@contextmanager
def fork_storm(forks: int, processes: int = STORM_PROCESSES) -> Iterator[Workload]:
    """Processes that stand ready to make ``forks`` forks each."""
    storm = Workload("fork_storm", "--processes", str(processes), "--forks", str(forks))
    try:
        yield storm
    finally:
        storm.close()


@contextmanager
def endless_storm() -> Iterator[list[int]]:
    """The one process of a storm that blows until it is no longer needed."""
    with fork_storm(1_000_000, processes=1) as storm:
        assert storm.process.stdin
        storm.process.stdin.write(b"go\n")
        storm.process.stdin.flush()
        try:
            yield storm.ready["processes"]
        finally:
            for pid in storm.ready["processes"]:
                os.kill(pid, signal.SIGKILL)
