"""A session within a test, and the forks that it delivered."""

from __future__ import annotations

import os

from forktrace.model import Fork, ProcessCost, Totals
from forktrace.tracer.session import Session, Wanted


class Forks:
    """A session, and the forks of this process that it delivered."""

    def __init__(self, wanted: Wanted | None = None) -> None:
        self.delivered: list[Fork] = []
        self.session = Session(
            decision="rule",
            wanted=wanted or Wanted(events=True),
            deliver=self.delivered.append,
        )

    def of(self, pid: int) -> list[Fork]:
        self.session.drain()
        return [fork for fork in self.delivered if fork.pid == pid]

    def ours(self) -> list[Fork]:
        return self.of(os.getpid())

    def totals(self) -> Totals:
        return self.session.totals()

    def cost_of(self, comm: str) -> ProcessCost:
        costs = {each.comm: each for each in self.totals().processes}
        return costs.get(comm, ProcessCost(comm, 0, 0, 0))


def fork_once() -> None:
    """Fork, and wait for the child's end."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
