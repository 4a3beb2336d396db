"""``forktrace record``: keep every fork in a file until a bound is met or a signal."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from forktrace import __version__
from forktrace.cow import Cow
from forktrace.errors import EXIT_FAILED, ForktraceError, UsageError
from forktrace.model import Exec, Fork, Sums
from forktrace.recording.costliest import Costliest
from forktrace.recording.names import mapping_names, with_names
from forktrace.recording.progress import ProgressLine
from forktrace.recording.reader import STANDARD
from forktrace.recording.records import (
    Filters,
    Header,
    HostTotals,
    Mappings,
    Progress,
    RuleWords,
    Summary,
)
from forktrace.recording.stream import Stream, check_stream
from forktrace.recording.writer import (
    SMALLEST,
    Full,
    WriteError,
    Writer,
    check_place,
    failure,
)
from forktrace.stop import Stop
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.tracing import AfterFork, Bounds, announce, running, warn
from forktrace.vforks import Vfork, least_ns
from forktrace.views import lines
from forktrace.views.colour import print_lines
from forktrace.views.units import size
from forktrace.workload import Workload

_POLL_MS = 100
# An idle host still says from time to time that it was looked at.
_QUIET_SECONDS = 60.0

# Lost because user space did not keep up.
_TOO_FAST = ("fork_event", "vma_event")

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([KMGT]?)(?:i?B)?", re.ASCII | re.I)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Options:
    """What ``record`` was asked for.

    ``vmas`` False asks the kernel for no details, ``stacks`` for who called fork,
    ``cow`` for what copy-on-write costs afterwards.
    """

    path: Path
    bounds: Bounds
    max_bytes: int
    filters: Filters
    vmas: bool
    stacks: bool
    cow: bool
    attach: AttachMode
    decision: DecisionMode
    self_stats: bool
    workload: Workload | None = None


def check(path: Path) -> None:
    """Raise UsageError, before anything is attached, if ``path`` will not do."""
    if path == STANDARD:
        check_stream()
    else:
        check_place(path)


def parse_size(text: str) -> int:
    """Return the bytes that ``100M`` or ``1.5G`` means; raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size.", "Write it as in 100M or 1G.")
    count = int(float(found[1]) * _UNITS[found[2].upper()])
    if count < SMALLEST:
        raise UsageError(
            f"{text!r} is too small for a recording.",
            f"Allow at least {SMALLEST >> 10}K.",
        )
    return count


class Recorder:
    """Takes what the session delivers and puts into the file what is to be kept."""

    def __init__(self, writer: Writer, bounds: Bounds, stop: Stop) -> None:
        """Stop of itself once ``bounds.count`` forks were kept."""
        self._writer = writer
        self._bounds = bounds
        self._stop = stop
        self._costliest = Costliest()
        self._discards = AfterFork(self._keep_exec)
        self.cows = AfterFork(self._keep_cow)
        self.execs = 0
        self.kept = Sums()
        self.ended = "stopped"

    def fork(self, fork: Fork) -> None:
        """Keep a fork; its VMAs only if it is among the costliest so far."""
        # After a signal, what happened before it is still coming in.
        enough = self.ended == "count"
        if enough or fork.duration_ns < self._bounds.min_duration_ns:
            return
        if fork.details is not None:
            fork = self._detailed(fork)
        self._writer.add({"type": "fork", **fork.to_json()}, forks=1)
        self.kept.add(fork)
        self._discards.fork_shown(fork.child_pid)
        self.cows.fork_shown(fork.child_pid)
        if self._bounds.count and self._writer.forks >= self._bounds.count:
            self.end("count")

    def exec(self, discard: Exec) -> None:
        """Keep an exec if its fork is kept."""
        self._discards.take(discard)

    def cow(self, cow: Cow) -> None:
        """Keep what became of a child if its fork is kept."""
        self.cows.take(cow)

    def vfork(self, vfork: Vfork) -> None:
        """Keep a vfork: the kernel sends those that are to be kept."""
        if self.ended != "count":
            self._writer.add(vfork.to_json())

    def end(self, why: str) -> None:
        """Stop, and remember why."""
        self.ended = why
        self._stop.set()

    def _detailed(self, fork: Fork) -> Fork:
        if not self._costliest.keeps(fork):
            return replace(fork, details=None)
        if names := mapping_names(fork):
            self._writer.add(Mappings(fork.pid, names).to_json())
        return fork

    def _keep_exec(self, discard: Exec) -> None:
        self._writer.add({"type": "exec", **discard.to_json()})
        self.execs += 1

    def _keep_cow(self, cow: Cow) -> None:
        self._writer.add(with_names(cow).to_json())


def record(options: Options) -> int:
    """Record; return the exit status."""
    wanted = Wanted(
        events=True,
        details=options.vmas,
        stacks=options.stacks,
        cow=options.cow,
        pids=options.filters.pids,
        comms=options.filters.comms,
        cgroups=options.filters.cgroups,
        vfork_ns=least_ns(options.filters.min_duration_ns),
        self_stats=options.self_stats,
        ring_bytes=16 << 20,
        follow=options.workload is not None,
    )

    # Nothing is delivered before the first poll, and by then there is a recorder.
    def deliver(fork: Fork) -> None:
        recorder.fork(fork)

    def deliver_exec(discard: Exec) -> None:
        recorder.exec(discard)

    def deliver_vfork(vfork: Vfork) -> None:
        recorder.vfork(vfork)

    def deliver_cow(cow: Cow) -> None:
        recorder.cow(cow)

    with Session(
        options.attach,
        options.decision,
        wanted,
        deliver,
        deliver_exec,
        deliver_vfork,
        deliver_cow,
    ) as session:
        stop = Stop()
        kind = Stream if options.path == STANDARD else Writer
        writer = kind(options.path, options.max_bytes)
        try:
            recorder = Recorder(writer, options.bounds, stop)
            _begin(session, writer, options)
            with running(options.workload, session, writer.abandon):
                return _record(session, writer, recorder, options, stop)
        finally:
            writer.close()


def _begin(session: Session, writer: Writer, options: Options) -> None:
    """Write the header, without which a file is no recording, and say that it began."""
    writer.add(_header(session, options).to_json())
    try:
        writer.flush()
        announce(session)
    except (Full, WriteError) as error:
        writer.abandon()
        raise ForktraceError(
            f"Nothing can be written to {writer.place}: the disk is full."
            if isinstance(error, Full)
            else f"Nothing can be written to {writer.place}: {error.strerror}.",
            "Name a file elsewhere.",
        ) from error
    except OSError:
        # It is stderr that fails.
        writer.abandon()
        raise


def _record(
    session: Session, writer: Writer, recorder: Recorder, options: Options, stop: Stop
) -> int:
    problem: Exception | None = None
    try:
        _follow(session, writer, recorder, options, stop)
        session.detach()
        session.drain()
        _flush(session, writer)
    except Full as full:
        recorder.end(full.reason)
    except WriteError as error:
        problem = failure(writer.place, error)
        recorder.end("disk")
    except OSError as error:
        # stderr fails, or the kernel: the recording still gets its end.
        problem = error
    session.detach()
    writer.drop()
    summary = _summary(session, writer, recorder)
    complete = writer.finish(summary.to_json())
    _say(session, writer, recorder, options)
    if problem:
        raise problem
    if recorder.ended == "disk" or not complete:
        _complain_of_full_disk(writer.place)
        return EXIT_FAILED
    return 0


def _follow(
    session: Session, writer: Writer, recorder: Recorder, options: Options, stop: Stop
) -> None:
    """Record until it is time to stop."""
    deadline = time.monotonic() + (options.bounds.seconds or float("inf"))
    progress = ProgressLine(sys.stderr)
    said = time.monotonic()
    try:
        while not stop:
            left = deadline - time.monotonic()
            if left <= 0:
                recorder.end("duration")
                break
            session.poll(int(min(_POLL_MS, left * 1000 + 1)))
            progress.show(writer.forks, size(writer.size))
            warn(session)
            if options.workload and options.workload.ended:
                recorder.end("command")
            if not writer.due:
                continue
            if not writer.empty or time.monotonic() - said > _QUIET_SECONDS:
                said = time.monotonic()
                _flush(session, writer)
    finally:
        progress.clear()


def _flush(session: Session, writer: Writer) -> None:
    lost = session.totals().lost
    writer.add(Progress(time.time_ns(), lost).to_json())
    writer.flush()


def _header(session: Session, options: Options) -> Header:
    kernel = session.kernel
    rule = kernel.rule.to_json(kernel.names)
    system = os.uname()
    return Header(
        time_ns=time.time_ns(),
        forktrace=__version__,
        host=system.nodename,
        release=kernel.release,
        arch=system.machine,
        rule=RuleWords(
            mask=rule["mask"],
            bits=rule["bits"],
            read_from=rule["read_from"],
            words=kernel.rule.words(kernel.names),
        ),
        attach=session.attached,
        decision=session.decided_by,
        vmas=options.vmas,
        filters=options.filters,
    )


def _summary(session: Session, writer: Writer, recorder: Recorder) -> Summary:
    totals = session.totals()
    return Summary(
        time_ns=time.time_ns(),
        ended=recorder.ended,
        forks=writer.written,
        execs=recorder.execs,
        unwritten=writer.unwritten,
        lost=totals.lost,
        host=HostTotals.of(totals),
    )


def _say(
    session: Session, writer: Writer, recorder: Recorder, options: Options
) -> None:
    """Say on stderr what there was, and where it is."""
    totals = session.totals()
    said = lines.summary(totals)
    if options.filters:
        said = lines.summary_of_some("recorded", recorder.kept, totals)
    said = ["", *said]
    if writer.moved:
        said.append(f"What was {writer.path} is now {writer.moved}.")
    if options.cow:
        said += lines.not_ended(recorder.cows.awaited)
    why = ""
    if recorder.ended == "max_size":
        why = f" It is as large as --max-size {size(options.max_bytes)} allows."
    said.append(f"{writer.written} forks in {writer.place}, {size(writer.size)}.{why}")
    if options.vmas and any(totals.lost.get(stage) for stage in _TOO_FAST):
        said.append(
            "To lose less, record with --no-vmas: the VMAs did not fit through."
        )
    if writer.path != STANDARD:
        said.append(f"Look at it: forktrace report {writer.path}")
    print_lines(said, sys.stderr)


def _complain_of_full_disk(place: str) -> None:
    print(
        f"forktrace: The disk is full. {place} holds what was recorded until then.",
        file=sys.stderr,
    )
