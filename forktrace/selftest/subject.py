"""The process that is looked at: it has a VMA of every kind, and forks when told.

It is forked off before anything of BPF exists, so it carries none of that along. It
ignores the signals that end us and ends when our end of the pipe is closed, however
that came about: so it always gives the huge pages back, also when we are killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from forktrace import patience, procfs
from forktrace.errors import ForktraceError
from forktrace.kinds import EveryKind, Mapping, Skipped, fork_once, living_child
from forktrace.kinds.ground import NR_HUGEPAGES
from forktrace.selftest.pages import Pages, held

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# How long it may take to end before it is killed.
_END_SECONDS = 60.0

# The last resort against work that hangs when nobody is left to end the process.
_WORK_SECONDS = 3600


@dataclass(frozen=True)
class Ready:
    """The process and its VMAs; ``skipped`` are the kinds it could not make."""

    pid: int
    mappings: tuple[Mapping, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Forked:
    """What the process itself saw of its forks, the last of them living meanwhile.

    ``children`` are pids in order; ``pages`` belongs to the mappings one by one and
    ``page_table_bytes`` is VmPTE, both of the last child.
    """

    children: tuple[int, ...]
    pages: tuple[Pages, ...]
    page_table_bytes: int


class Subject:
    """The process, while the ``with`` block lasts; ``ready`` is what it has."""

    ready: Ready

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._hugepages = _read_hugepages()
        self._ours, self._theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_live, args=(self._theirs, self._ours), daemon=True
        )

    def __enter__(self) -> Subject:
        """Start it and wait until all VMAs are made. Raises ForktraceError."""
        with _signals_held_back():
            self._process.start()
        self._theirs.close()
        try:
            ready = self._answer()
            assert isinstance(ready, Ready)
            self.ready = ready
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def fork(self, times: int) -> Forked:
        """Let it fork ``times`` times. Raises ForktraceError."""
        forked = self._answer(times)
        assert isinstance(forked, Forked)
        return forked

    def close(self) -> None:
        """Let it take everything away, and kill it if it cannot."""
        self._ours.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._process.exitcode and _read_hugepages() != self._hugepages:
            NR_HUGEPAGES.write_text(self._hugepages)

    def _answer(self, times: int = 0) -> Ready | Forked:
        try:
            if times:
                self._ours.send(times)
            patience.wait(self._ours, "waiting for the selftest's own process")
            answer: Ready | Forked | Exception = self._ours.recv()
        except (EOFError, ConnectionError):
            raise ForktraceError(
                "The process made for the selftest was ended from outside."
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _live(pipe: Connection, other_end: Connection) -> None:
    """Be the process: make the VMAs, then fork as often as each message says."""
    other_end.close()
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    signal.alarm(_WORK_SECONDS)
    try:
        with EveryKind() as every:
            pipe.send(Ready(os.getpid(), every.mappings, every.skipped))
            while True:
                pipe.send(_fork(_next(pipe), every.mappings))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        pipe.send(error)


def _next(pipe: Connection) -> int:
    """Wait for the next message, without a limit: the end of its sender ends it."""
    signal.alarm(0)
    try:
        times: int = pipe.recv()
        return times
    finally:
        signal.alarm(_WORK_SECONDS)


def _fork(times: int, mappings: tuple[Mapping, ...]) -> Forked:
    children = [fork_once() for _ in range(times - 1)]
    ranges = [(mapping.start, mapping.end) for mapping in mappings]
    with living_child() as child:
        of_child = held(child, ranges)
        page_table_bytes = procfs.vm_pte_bytes(child)
        of_parent = held("self", ranges)
    pages = tuple(map(Pages.of, of_parent, of_child))
    return Forked((*children, child), pages, page_table_bytes)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Deliver no signal until the new process has said that it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_hugepages() -> str:
    try:
        return NR_HUGEPAGES.read_text()
    except FileNotFoundError:  # without CONFIG_HUGETLBFS
        return ""
