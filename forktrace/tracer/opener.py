"""Opens kprobes for a process that has given up its privileges.

What is attached from time to time must be opened each time: a perf event that is
disabled leaves its kprobe armed, and forks pay for it. Opening takes privileges, so a
child keeps them that hears nothing from outside. It opens the places that it was made
for, and no others.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from forktrace import privileges
from forktrace.tracer.attach import Place, open_kprobe
from forktrace.tracer.child import receive

_KEPT = (privileges.CAP_PERFMON, privileges.CAP_SYS_ADMIN)


class OpenerChild:
    """An ``Opener`` that works after ``privileges.give_up``; it ends with us."""

    def __init__(self, places: Sequence[Place]) -> None:
        """Fork it; before anything is attached, so that nobody sees the fork."""
        self._places = tuple(places)
        self._ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _child(parent, childs, self._places)
        childs.close()

    def __call__(self, place: Place) -> int:
        """Have one of the places opened; raises OSError, even if the child is gone."""
        self._ours.send(bytes([self._places.index(place)]))
        answer, fds = receive(self._ours, 1, 1)
        if fds:
            return fds[0]
        number = answer[0] if answer else errno.EPIPE
        raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """End it."""
        self._ours.close()
        os.waitpid(self._pid, 0)


def _child(parent: int, requests: socket.socket, places: Sequence[Place]) -> NoReturn:
    """Open what is asked for until nobody can ask any more."""
    try:
        privileges.end_with_parent(parent)
        gc.disable()  # it would touch, and so copy, all that the parent has in memory
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(0, 1, 2, requests.fileno())
        with suppress(OSError):  # the parent meets the same and says so
            privileges.give_up(_KEPT)
        while request := requests.recv(1):
            _open(places[request[0]], requests)
    finally:
        # Never run on as a second parent.
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    """Close the parent's probes and maps, which live as long as somebody has them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the listing's own
                os.close(int(name))


def _open(place: Place, answers: socket.socket) -> None:
    try:
        fd = open_kprobe(place)
    except OSError as error:
        answers.send(bytes([error.errno or errno.EIO]))
        return
    socket.send_fds(answers, [b"\0"], [fd])
    os.close(fd)
