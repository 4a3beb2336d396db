"""Lets a few do something at once, and all others after them in the order they came.

``threading.Semaphore`` does not: who gives a place back and asks for it again at once
has it before those who wait, so one client with many requests would keep out the rest.
"""

from __future__ import annotations

from collections import deque
from threading import Event, Lock


class Turns:
    """So many places; each is handed from one to the next."""

    def __init__(self, places: int) -> None:
        """Start with all places free."""
        self._free = places
        self._waiting: deque[Event] = deque()
        self._lock = Lock()

    def take(self, seconds: float) -> bool:
        """Wait for a place for so long; tell whether it was had."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = Event()
            self._waiting.append(turn)
        if turn.wait(seconds):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
            return False

    def give_back(self) -> None:
        """Hand the place to whoever has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
