"""Keeps a server's connections few and short-lived, whatever the clients do.

Each connection has a thread, so an idle or slow client costs one. No timeout on a
single read or write stops a client that sends a byte a second; closing the socket
from outside does, and that wakes the thread.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition

MAX_CONNECTIONS = 64
"""More than this and the one that has been silent longest must go."""

FIRST_REQUEST_SECONDS = 10.0
"""From the connection to the end of its first request, TLS handshake included."""

NEXT_REQUEST_SECONDS = 120.0
"""From an answer to the end of the next request: above usual scrape intervals."""

ANSWER_SECONDS = 10.0
"""From a request to the last byte of its answer: Prometheus gives up then too."""


LEAVE_SECONDS = 1.0
"""For the threads of closed connections to end, when a flood of new ones comes."""


@dataclass
class _Connection:
    socket: socket.socket
    waiting: bool = True
    deadline: float = field(
        default_factory=lambda: time.monotonic() + FIRST_REQUEST_SECONDS
    )


class Connections:
    """The connections that are open, each waiting for a request or being answered."""

    def __init__(self) -> None:
        """Start with none."""
        self._open: dict[socket.socket, _Connection] = {}
        self._lock = Condition()

    def admit(self, connection: socket.socket) -> bool:
        """Note a new connection; tell whether there is room for it.

        When all places are taken the one that has waited longest is closed. When
        every one of them is being answered, the new one finds no room.
        """
        with self._lock:
            if not self._lock.wait_for(self._has_room, LEAVE_SECONDS):
                return False
            if len(self._open) >= MAX_CONNECTIONS:
                waiting = [one for one in self._open.values() if one.waiting]
                if not waiting:
                    return False
                _shut(min(waiting, key=lambda one: one.deadline))
            self._open[connection] = _Connection(connection)
            return True

    def answering(self, connection: socket.socket) -> None:
        """Note that a request has come and its answer begins."""
        self._expect(connection, waiting=False, seconds=ANSWER_SECONDS)

    def answered(self, connection: socket.socket) -> None:
        """Note that the answer was sent and the client may ask again."""
        self._expect(connection, waiting=True, seconds=NEXT_REQUEST_SECONDS)

    def forget(self, connection: socket.socket) -> None:
        """Note that a connection is being closed; must precede the close."""
        with self._lock:
            self._open.pop(connection, None)
            self._lock.notify()

    def shut_overdue(self) -> None:
        """Close every connection whose time is over."""
        now = time.monotonic()
        with self._lock:
            for one in self._open.values():
                if one.deadline < now:
                    _shut(one)

    def shut_all(self) -> None:
        """Close every connection."""
        with self._lock:
            for one in self._open.values():
                _shut(one)

    def _has_room(self) -> bool:
        return len(self._open) < 2 * MAX_CONNECTIONS

    def _expect(
        self, connection: socket.socket, *, waiting: bool, seconds: float
    ) -> None:
        with self._lock:
            one = self._open.get(connection)
            if one:
                one.waiting, one.deadline = waiting, time.monotonic() + seconds


def _shut(one: _Connection) -> None:
    # Not to be chosen again while its thread takes its leave.
    one.waiting = False
    with suppress(OSError):
        # Past SSLSocket.shutdown, which takes TLS away under the thread's feet.
        socket.socket.shutdown(one.socket, socket.SHUT_RDWR)
