"""Reads /proc/PID/maps for a process that has given up its privileges.

Another process' maps take CAP_SYS_PTRACE, so a child keeps it that hears nothing from
outside, and reads nothing else. A read may wait for the mmap_lock of the process looked
at, however long others hold that: nobody waits for the child beyond a bound.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn

from forktrace import privileges, procfs

_PATIENCE_SECONDS = 2.0
_NOTHING = b""


class MapsChild:
    """Tells the mappings of processes, after ``privileges.give_up`` too.

    It ends with us, and with ``close``.
    """

    def __init__(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Fork it, best before there is much to copy. Wait so many seconds at most."""
        self._patience = patience
        self._late = False
        self._sees_all = procfs.in_host_pid_namespace()
        self._ours, childs = Pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _child(parent, childs)
        childs.close()

    def read(self, pid: int) -> bytes:
        """Return the maps of a process as /proc has them; nothing if it cannot tell.

        It is gone, may not be looked at, or is another one here than to the kernel; or
        there is no answer in time: then that is thrown away when it comes, and nothing
        is told before.
        """
        if not self._sees_all:
            return _NOTHING
        try:
            if self._late and not self._answered(0):
                return _NOTHING
            self._ours.send_bytes(str(pid).encode())
            return self._answered(self._patience) or _NOTHING
        except (OSError, EOFError):
            return _NOTHING

    def _answered(self, patience: float) -> bytes | None:
        """Return an answer, None if it has not come in time."""
        self._late = not self._ours.poll(patience)
        return None if self._late else self._ours.recv_bytes()

    def close(self) -> None:
        """End it, whatever it waits for."""
        self._ours.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _child(parent: int, requests: Connection) -> NoReturn:
    """Read what is asked for until nobody can ask any more."""
    try:
        privileges.end_with_parent(parent)
        gc.disable()  # it would touch, and so copy, all that the parent has in memory
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with suppress(OSError):  # the parent meets the same and says so
            privileges.give_up((privileges.CAP_SYS_PTRACE,))
        with suppress(OSError, EOFError):
            _answer_all(requests.recv_bytes, requests.send_bytes)
    finally:
        # Never run on as a second parent.
        os._exit(0)


def _answer_all(
    receive: Callable[[], bytes], send: Callable[[bytes], None]
) -> NoReturn:
    while True:
        pid = int(receive())
        try:
            with open(f"/proc/{pid}/maps", "rb") as maps:
                answer = maps.read()
        except OSError:
            answer = _NOTHING
        send(answer)
