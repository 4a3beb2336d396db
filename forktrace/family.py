"""A process and its descendants, as the forks and vforks that are told make it grow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from forktrace.comms import ALL_COMMS, Comms
from forktrace.model import Fork
from forktrace.vforks import Vfork

_PROC = Path("/proc")
# Between two looks at who of them is gone.
_MOST = 65_536
# A child may fork before its parent's fork is over, which is when that is told. What
# waits is bounded by its VMAs, too.
_MOST_EARLY = 1024
_MOST_EARLY_VMAS = 65_536


class Family:
    """Lets through the calls of one process and its descendants.

    All forks and vforks of the host are to be told to it.
    """

    def __init__(
        self,
        deliver: Callable[[Fork], None],
        deliver_vfork: Callable[[Vfork], None],
        comms: Comms = ALL_COMMS,
        least_ns: int = 0,
    ) -> None:
        """Hand over calls by these names, and vforks that took ``least_ns``."""
        self._deliver, self._deliver_vfork = deliver, deliver_vfork
        self._comms, self._least_ns = comms, least_ns
        self._root = 0
        self._members: dict[int, None] = {}
        self._early: dict[int, list[Fork]] = {}
        self._early_forks = self._early_vmas = 0
        self._next_look = _MOST

    def begin(self, pid: int) -> None:
        """Follow this process from now on."""
        self._root = pid
        self._add(pid)

    def fork(self, fork: Fork) -> None:
        """Take a fork; let it through now, or once its caller turns out to be ours."""
        if fork.pid not in self._members:
            self._keep(fork)
            self._drop(fork.child_pid)
            return
        self._touch(fork.pid)
        if self._comms.fit(fork.comm, fork.thread):
            self._deliver(fork)
        if fork.child_pid:
            self._add(fork.child_pid)

    def vfork(self, vfork: Vfork) -> None:
        """Take a vfork, likewise; it is told before its child can fork."""
        if vfork.pid not in self._members:
            self._drop(vfork.child_pid)
            return
        if vfork.held_ns >= self._least_ns and self._comms.fit(
            vfork.comm, vfork.thread
        ):
            self._deliver_vfork(vfork)
        self._add(vfork.child_pid)

    def _add(self, pid: int) -> None:
        self._touch(pid)
        if len(self._members) > self._next_look:
            self._forget_the_dead()
        for fork in self._early.pop(pid, ()):
            self._early_forks -= 1
            self._early_vmas -= _vmas(fork)
            self.fork(fork)

    def _touch(self, pid: int) -> None:
        """Put it last: those that fork are the ones to keep."""
        self._members.pop(pid, None)
        self._members[pid] = None

    def _drop(self, pid: int) -> None:
        """Note that a pid is now a stranger's."""
        if pid != self._root:
            self._members.pop(pid, None)

    def _forget_the_dead(self) -> None:
        # Of the newer ones, forks may still be on the way.
        for pid in list(islice(self._members, len(self._members) // 2)):
            if pid != self._root and not (_PROC / str(pid)).exists():
                del self._members[pid]
        self._next_look = len(self._members) + _MOST

    def _keep(self, fork: Fork) -> None:
        self._early.setdefault(fork.pid, []).append(fork)
        self._early_forks += 1
        self._early_vmas += _vmas(fork)
        while self._early_forks > _MOST_EARLY or self._early_vmas > _MOST_EARLY_VMAS:
            for each in self._early.pop(next(iter(self._early))):
                self._early_forks -= 1
                self._early_vmas -= _vmas(each)


def _vmas(fork: Fork) -> int:
    return len(fork.details or ())
