"""``forktrace trace``: print each fork as it happens, within the bounds asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forktrace.log import logger
from forktrace.model import SCHEMA, Exec, Fork, Sums, Totals
from forktrace.recording.names import mapping_names
from forktrace.stop import Stop
from forktrace.systemd import notify
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.vforks import Vfork
from forktrace.views import lines
from forktrace.views.colour import print_lines

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
    """How forks, children that call exec, vforks, and what was lost are printed.

    A fork comes with the names of its parent's mappings by their first address, as far
    as its VMAs were asked for and /proc still tells.
    """

    fork: Callable[[Fork, Mapping[int, str]], None]
    discard: Callable[[Exec], None]
    vfork: Callable[[Vfork], None]
    end: Callable[[Totals], None] = lambda totals: None


class Discards:
    """Lets through the execs of children whose fork was shown, after that fork.

    A child may call exec before its parent returns from fork, so either may be first.
    The oldest that still wait are forgotten beyond ``_WAITING``: most children never
    call exec.
    """

    _WAITING = 8192

    def __init__(self, show: Callable[[Exec], None]) -> None:
        """Hand over to ``show``."""
        self._show = show
        self._shown: dict[int, None] = {}
        self._early: dict[int, Exec] = {}

    def fork_shown(self, child_pid: int) -> None:
        """Note a fork that was shown."""
        early = self._early.pop(child_pid, None)
        if early:
            self._show(early)
        elif child_pid:
            self._shown[child_pid] = None
            _bound(self._shown, self._WAITING)

    def exec(self, discard: Exec) -> None:
        """Show it, or keep it until its fork is shown."""
        if discard.pid in self._shown:
            del self._shown[discard.pid]
            self._show(discard)
        else:
            self._early[discard.pid] = discard
            _bound(self._early, self._WAITING)


def _bound(waiting: dict[int, Any], most: int) -> None:
    while len(waiting) > most:
        del waiting[next(iter(waiting))]


def trace(
    wanted: Wanted,
    bounds: Bounds,
    show: Show,
    attach: AttachMode,
    decision: DecisionMode,
) -> None:
    """Trace until a bound is met or a signal comes, then say what there was."""
    discards = Discards(show.discard)
    shown = Sums()
    missing = cut = 0

    def deliver(fork: Fork) -> None:
        nonlocal missing, cut
        if stop or fork.duration_ns < bounds.min_duration_ns:
            return
        show.fork(fork, mapping_names(fork) if fork.details else {})
        discards.fork_shown(fork.child_pid)
        shown.add(fork)
        missing += wanted.stacks and fork.stack is None
        cut += fork.stack is not None and fork.stack.cut
        if bounds.count and shown.forks >= bounds.count:
            stop.set()

    def deliver_vfork(vfork: Vfork) -> None:
        if not stop:
            show.vfork(vfork)

    with Session(
        attach, decision, wanted, deliver, discards.exec, deliver_vfork
    ) as session:
        stop = Stop()
        announce(session)
        deadline = time.monotonic() + (bounds.seconds or float("inf"))
        while not stop and (left := deadline - time.monotonic()) > 0:
            session.poll(int(min(_POLL_MS, left * 1000 + 1)))
            sys.stdout.flush()
            warn(session)
        session.detach()
        session.drain()
        totals = session.totals()
    show.end(totals)
    sys.stdout.flush()
    chosen = wanted.pids or wanted.comms or wanted.cgroups or bounds.min_duration_ns
    said = [f"{shown.forks} forks shown.", *lines.summary(totals)]
    if chosen:
        said = lines.summary_of_some("shown", shown, totals)
    said += lines.missing_stacks(missing, cut)
    print_lines(["", *said], sys.stderr)


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
    _print_fork, _print_discard, lambda vfork: print_lines([lines.vfork_line(vfork)])
)
"""A line a fork, its VMAs where asked for, and a line when its child calls exec; and a
line a vfork."""

SHOW_JSON = Show(
    _print_fork_json,
    lambda discard: _print_json(
        {"schema": SCHEMA, "type": "exec", **discard.to_json()}
    ),
    lambda vfork: _print_json({"schema": SCHEMA, **vfork.to_json()}),
    _print_losses,
)
"""NDJSON: one object a fork. Other objects have a ``type``: ``exec`` for a child that
called exec, ``vfork``, and ``end``, the last one, which says what was lost."""
