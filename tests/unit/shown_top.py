"""Shows top's screen of forks that are made up: NAME=PID[,PID...] for each row.

Nothing is traced. What is shown, what keys do and how it ends are top's own.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from forktrace.model import Fork, ProcessCost, Totals
from forktrace.stop import Stop
from forktrace.top import Display, show
from forktrace.views.top import TopState
from tests.unit.test_activity import fork, totals


class MadeUp:
    """As a session: at each poll every process has forked once more."""

    attached, decided_by = "fentry", "branch"
    kernel = SimpleNamespace(release="7.3")

    def __init__(self, rows: dict[str, list[int]], forks: deque[Fork]) -> None:
        self._rows, self._forks = rows, forks
        self._polls = 0

    def poll(self, _timeout_ms: int) -> None:
        time.sleep(0.02)
        self._polls += 1
        for number, (name, pids) in enumerate(self._rows.items()):
            for pid in pids:
                self._forks.append(replace(fork(name, 9000 - number), pid=pid))

    def totals(self) -> Totals:
        # The first of them costs most, so the rows come as they were given.
        costs = (
            ProcessCost(name, self._polls, self._polls * (9000 - number), 0)
            for number, name in enumerate(self._rows)
        )
        return totals(self._polls, self._polls, *costs)


def main() -> None:
    rows = {
        name: [int(pid) for pid in pids.split(",")]
        for name, _, pids in (word.partition("=") for word in sys.argv[1:])
    }
    forks: deque[Fork] = deque()
    session: Any = MadeUp(rows, forks)
    stop = Stop()
    show(session, Display(session, forks, TopState(), 0.2, explains=True), stop)
    print("it ended")


if __name__ == "__main__":
    main()
