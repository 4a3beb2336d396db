"""What user space chooses itself: names by a glob, and a command's descendants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forktrace.comms import Comms, is_glob
from forktrace.family import Family
from forktrace.model import Fork
from forktrace.vforks import Vfork

Deliver = Callable[[Fork], None]
DeliverVfork = Callable[[Vfork], None]


class Sieve:
    """Stands between the events and who wants them.

    ``kernel_comms`` and ``kernel_vfork_ns`` are what is left to the kernel to choose
    by: for a command's descendants nothing, as any process may be one of them.
    """

    def __init__(
        self, comms: Sequence[str], vfork_ns: int, *, follow: bool, exact: bool = False
    ) -> None:
        """Choose by name, and with ``follow`` those of a command alone.

        With ``exact`` names are no globs: then the kernel chooses.
        """
        self._comms = Comms(comms)
        self._here = follow or (not exact and any(map(is_glob, comms)))
        self._follow = follow
        self._vfork_ns = vfork_ns
        self._family: Family | None = None
        self.kernel_comms: Sequence[str] = () if self._here else comms
        self.kernel_vfork_ns = 1 if follow else vfork_ns

    def before(
        self, deliver: Deliver, deliver_vfork: DeliverVfork
    ) -> tuple[Deliver, DeliverVfork]:
        """Return what to give all events to, where these want the chosen ones."""
        if self._follow:
            self._family = Family(deliver, deliver_vfork, self._comms, self._vfork_ns)
            return self._family.fork, self._family.vfork
        if not self._here:
            return deliver, deliver_vfork

        def fork(fork: Fork) -> None:
            if self._comms.fit(fork.comm, fork.thread):
                deliver(fork)

        def vfork(vfork: Vfork) -> None:
            if self._comms.fit(vfork.comm, vfork.thread):
                deliver_vfork(vfork)

        return fork, vfork

    def follow(self, pid: int) -> None:
        """Let through what this process and its descendants do from now on."""
        assert self._family is not None, "nobody is to be followed"
        self._family.begin(pid)
