"""``forktrace trace``: print each fork as it happens, within the bounds asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from forktrace.cow import Cow
from forktrace.errors import ForktraceError
from forktrace.log import logger
from forktrace.model import SCHEMA, Exec, Fork, Sums, Totals
from forktrace.recording.names import mapping_names, with_names
from forktrace.stop import Stop
from forktrace.systemd import notify
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.vforks import Vfork
from forktrace.views import lines
from forktrace.views.colour import print_lines
from forktrace.views.cow import cow_lines
from forktrace.views.units import counted
from forktrace.workload import Workload

_POLL_MS = 200


@dataclass(frozen=True)
class Bounds:
    """When to stop by itself, and which forks are too quick to matter.

    ``count`` 0 and ``seconds`` 0 mean no bound; ``min_duration_ns`` drops forks that
    took less.
    """

    count: int = 0
    seconds: float = 0
    min_duration_ns: int = 0


@dataclass(frozen=True)
class Show:
    """How forks, what became of their children, vforks, and losses are printed.

    A fork comes with the names of its parent's mappings by their first address, as far
    as its VMAs were asked for and /proc still tells.
    """

    fork: Callable[[Fork, Mapping[int, str]], None]
    discard: Callable[[Exec], None]
    vfork: Callable[[Vfork], None]
    cow: Callable[[Cow], None] = lambda cow: None
    end: Callable[[Totals], None] = lambda totals: None


class _OfChild(Protocol):
    """Something that became of a child."""

    @property
    def pid(self) -> int:
        """The child."""


What = TypeVar("What", bound=_OfChild)


class AfterFork(Generic[What]):
    """Lets through what became of children whose fork was shown, after that fork.

    A child may call exec, or end, before its parent returns from fork, so either may be
    first. The oldest that still wait are forgotten beyond ``_WAITING``: most children
    never call exec.
    """

    _WAITING = 8192

    def __init__(self, show: Callable[[What], None]) -> None:
        """Hand over to ``show``."""
        self._show = show
        self.awaited = 0  # forks that were shown, and nothing of their child
        self._shown: dict[int, None] = {}
        self._early: dict[int, What] = {}

    def fork_shown(self, child_pid: int) -> None:
        """Note a fork that was shown."""
        early = self._early.pop(child_pid, None)
        if early:
            self._show(early)
        elif child_pid:
            self.awaited += 1
            self._shown[child_pid] = None
            _bound(self._shown, self._WAITING)

    def take(self, what: What) -> None:
        """Show it, or keep it until its fork is shown."""
        if what.pid in self._shown:
            self.awaited -= 1
            del self._shown[what.pid]
            self._show(what)
        else:
            self._early[what.pid] = what
            _bound(self._early, self._WAITING)


def _bound(waiting: dict[int, Any], most: int) -> None:
    while len(waiting) > most:
        del waiting[next(iter(waiting))]


class _Shown:
    """What is shown within the bounds, and the sums of it."""

    def __init__(self, wanted: Wanted, bounds: Bounds, show: Show) -> None:
        self.discards = AfterFork(show.discard)
        self.cows = AfterFork(self._cow)
        self.sums = Sums()
        self._wanted, self._bounds, self._show = wanted, bounds, show
        self._missing = self._cut = 0
        self._stop: Stop | None = None

    def until(self, stop: Stop) -> None:
        """Show nothing any more once this is set, and set it when there is enough."""
        self._stop = stop

    def fork(self, fork: Fork) -> None:
        enough = 0 < self._bounds.count <= self.sums.forks
        if self._stop or enough or fork.duration_ns < self._bounds.min_duration_ns:
            return
        self._show.fork(fork, mapping_names(fork) if fork.details else {})
        self.discards.fork_shown(fork.child_pid)
        self.cows.fork_shown(fork.child_pid)
        self.sums.add(fork)
        self._missing += self._wanted.stacks and fork.stack is None
        self._cut += fork.stack is not None and fork.stack.cut

    def _cow(self, cow: Cow) -> None:
        self._show.cow(with_names(cow))

    def stop_at_count(self, session: Session) -> None:
        """Stop once there are so many forks and, with ``cow``, their children ended."""
        enough = 0 < self._bounds.count <= self.sums.forks
        if self._stop is None or not enough:
            return
        if not self._wanted.cow or self.cows.awaited <= unheard(session.totals()):
            self._stop.set()

    def vfork(self, vfork: Vfork) -> None:
        if not self._stop:
            self._show.vfork(vfork)

    def summary(self, totals: Totals) -> list[str]:
        wanted, shown = self._wanted, self.sums
        chosen = wanted.pids or wanted.comms or wanted.cgroups or wanted.follow
        said = [f"{counted(shown.forks, 'fork')} shown.", *lines.summary(totals)]
        if chosen or self._bounds.min_duration_ns:
            said = lines.summary_of_some("shown", shown, totals)
        if wanted.cow:
            said += lines.not_ended(self.cows.awaited)
        return said + lines.missing_stacks(self._missing, self._cut)


def trace(
    wanted: Wanted,
    bounds: Bounds,
    show: Show,
    attach: AttachMode,
    decision: DecisionMode,
    workload: Workload | None = None,
) -> None:
    """Trace until a bound is met, a signal comes or the workload ends; sum it up."""
    shown = _Shown(wanted, bounds, show)
    delivered = shown.fork, shown.discards.take, shown.vfork, shown.cows.take
    with Session(attach, decision, wanted, *delivered) as session:
        stop = Stop()
        shown.until(stop)
        announce(session)
        with running(workload, session):
            _follow(session, shown, bounds, stop, workload)
            session.detach()
        session.drain()
        totals = session.totals()
    show.end(totals)
    sys.stdout.flush()
    print_lines(["", *shown.summary(totals)], sys.stderr)


def unheard(totals: Totals) -> int:
    """Return of how many children nothing is known that ended: with ``cow``."""
    return totals.lost["cow_mm"] + totals.lost["cow_event"]


def _follow(
    session: Session,
    shown: _Shown,
    bounds: Bounds,
    stop: Stop,
    workload: Workload | None,
) -> None:
    """Show what comes until it is time to stop."""
    deadline = time.monotonic() + (bounds.seconds or float("inf"))
    while not stop and (left := deadline - time.monotonic()) > 0:
        session.poll(int(min(_POLL_MS, left * 1000 + 1)))
        shown.stop_at_count(session)
        sys.stdout.flush()
        warn(session)
        if workload and workload.ended:
            return


@contextmanager
def running(
    workload: Workload | None,
    session: Session,
    give_up: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Have a workload run, if there is one, and its forks delivered; then end it.

    ``give_up`` is called when it cannot be started, which raises ForktraceError.
    """
    if workload is None:
        yield
        return
    try:
        session.follow(workload.start())
    except ForktraceError:
        give_up()
        raise
    try:
        yield
    finally:
        workload.end()


def announce(session: Session, *, audited: bool = False) -> None:
    """Say on stderr, and to systemd, that probes are attached from now on.

    ``audited``: the witness only looks in from time to time.
    """
    decided = session.decided_by
    if audited and decided != "rule":
        decided = f"rule, checked by {decided}"
    logger.info(
        "Tracing forks on %s (%s, decisions from %s). Ctrl-C to stop.",
        *(session.kernel.release, session.attached, decided),
    )
    notify("READY=1")


def warn(session: Session) -> None:
    """Say on stderr what the session warns of; it wants to be asked regularly."""
    for said in session.warnings():
        logger.warning("%s", said)


def _print_fork(fork: Fork, names: Mapping[int, str]) -> None:
    vmas = [lines.vma_line(vma, names.get(vma.start)) for vma in fork.details or ()]
    callers = lines.stack_lines(fork.stack) if fork.stack else []
    print_lines([lines.fork_line(fork), *callers, *vmas])


def _print_fork_json(fork: Fork, names: Mapping[int, str]) -> None:
    record = fork.to_json()
    for detail, vma in zip(record.get("details", ()), fork.details or ()):
        detail["name"] = names.get(vma.start)
    _print_json(record)


def _print_json(record: Mapping[str, Any]) -> None:
    print(json.dumps(record, separators=(",", ":")))


def _print_losses(totals: Totals) -> None:
    lost = {stage: count for stage, count in totals.lost.items() if count}
    _print_json({"schema": SCHEMA, "type": "end", "lost": lost})


def _print_discard(discard: Exec) -> None:
    print_lines([lines.exec_line(discard)])


SHOW_LINES = Show(
    _print_fork,
    _print_discard,
    lambda vfork: print_lines([lines.vfork_line(vfork)]),
    lambda cow: print_lines(cow_lines(cow)),
)
"""A line a fork, its VMAs where asked for, and a line when its child calls exec; and a
line a vfork."""

SHOW_JSON = Show(
    _print_fork_json,
    lambda discard: _print_json(
        {"schema": SCHEMA, "type": "exec", **discard.to_json()}
    ),
    lambda vfork: _print_json({"schema": SCHEMA, **vfork.to_json()}),
    lambda cow: _print_json({"schema": SCHEMA, **cow.to_json()}),
    _print_losses,
)
"""NDJSON: one object a fork. Other objects have a ``type``: ``exec`` for a child that
called exec, ``vfork``, ``cow`` for a child that ended, and ``end``, the last one, which
says what was lost."""
