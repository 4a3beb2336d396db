"""``forktrace run``: trace for as long as the host lives and serve the metrics."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client.registry import Collector

from forktrace.errors import ForktraceError
from forktrace.exporter.listen import parse_address
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.page import LATEST_FORKS, landing_page
from forktrace.exporter.textfile import check_directory, write_textfile
from forktrace.exporter.web import serve
from forktrace.exporter.webconfig import WatchedWebConfig
from forktrace.model import Fork
from forktrace.pulse import Pulse
from forktrace.stop import Stop
from forktrace.top import Display, screen
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.tracing import announce, warn
from forktrace.views import lines
from forktrace.views.colour import print_lines
from forktrace.views.terminal import can_take_over
from forktrace.views.top import TopState

TICK_MS = 500
FIRST_AUDIT_SECONDS = 10.0
AUDIT_SECONDS = 1.0
AUDIT_EVERY_SECONDS = 60.0
TEXTFILE_SECONDS = 15.0
REFRESH_SECONDS = 2.0
UNSEEN_FORKS = 1000
SAMPLES_A_SECOND = 10
"""How many forks a second are looked at one by one, for the page; all are counted."""


@dataclass(frozen=True)
class Options:
    """What ``run`` was asked for."""

    listen: str
    max_comms: int
    web_config: Path | None
    textfile: Path | None
    attach: AttachMode
    decision: DecisionMode
    self_stats: bool


class Observed(Protocol):
    """What the windows need of a session."""

    def observe(self, on: bool) -> None:
        """Start or stop watching the forks that begin from now on."""

    def retire_witness(self) -> bool:
        """Detach the witness when the last watched fork has ended."""


class AuditWindows:
    """When ``run --decision auto`` has each decision witnessed.

    The first ten seconds, then one second in each minute: enough to notice a rule that
    is wrong, at no cost in between.
    """

    def __init__(self, session: Observed, now: float) -> None:
        """Start in the first window; the session observes already."""
        self._session = session
        self._observing = True
        self._next = now + FIRST_AUDIT_SECONDS

    def tick(self, now: float) -> None:
        """Open or close the window when its time has come."""
        if now >= self._next:
            self._observing = not self._observing
            length = AUDIT_SECONDS
            if not self._observing:
                length = AUDIT_EVERY_SECONDS - AUDIT_SECONDS
            self._next = now + length
            self._session.observe(self._observing)
        elif not self._observing:
            # A tick later: a fork that began just before may not have said so yet.
            self._session.retire_witness()


def check(options: Options) -> None:
    """Raise ForktraceError for what can be seen to fail before anything is traced."""
    parse_address(options.listen)
    WatchedWebConfig(options.web_config)
    if options.textfile:
        check_directory(options.textfile)


def run(options: Options) -> None:
    """Serve until a signal comes, then say what there was. Raises ForktraceError."""
    latest: deque[Fork] = deque(maxlen=LATEST_FORKS)
    unseen: deque[Fork] = deque(maxlen=UNSEEN_FORKS)

    def deliver(fork: Fork) -> None:
        latest.appendleft(fork)
        unseen.append(fork)

    wanted = Wanted(
        events=True,
        events_a_second=SAMPLES_A_SECOND,
        self_stats=options.self_stats,
        cgroup_paths=False,
    )
    with Session(options.attach, options.decision, wanted, deliver) as session:
        stop = Stop()
        pulse = Pulse(session.tasks_seen, time.monotonic())
        collector = ForktraceCollector(
            session.totals,
            lambda: session.info,
            options.max_comms,
            session.bit_names,
            lambda: pulse.running,
        )
        server = serve(
            options.listen,
            new_registry(collector),
            lambda: landing_page(
                session.info, session.kernel.words(), session.totals(), tuple(latest)
            ),
            options.web_config,
        )
        try:
            audited = options.decision == "auto"
            announce(session, audited=audited)
            host = options.listen.strip().rpartition(":")[0] or "localhost"
            print(
                f"Metrics on {server.scheme}://{host}:{server.port}/metrics",
                file=sys.stderr,
            )
            written = Textfile(collector, options.textfile, time.monotonic())
            with _shown(session, unseen) as shown:
                _watch(session, stop, pulse, written, shown, audited=audited)
            written.write()
        finally:
            server.close()
        session.detach()
        totals = session.totals()
    print_lines(lines.summary(totals))


class Textfile:
    """The metrics as a file too, for hosts whose node_exporter is all that is scraped.

    A directory that cannot be written is an error at the start; later, when the disk
    is full say, it is one warning, and tracing goes on.
    """

    def __init__(
        self, collector: Collector, directory: Path | None, now: float
    ) -> None:
        """Write the first one; without a directory, never any."""
        self._collector = collector
        self._directory = directory
        self._due = now + TEXTFILE_SECONDS
        self._failed = False
        if directory:
            write_textfile(collector, directory)

    def tick(self, now: float) -> None:
        """Write when it is time."""
        if now >= self._due:
            self._due = now + TEXTFILE_SECONDS
            self.write()

    def write(self) -> None:
        """Write now, or warn that it cannot be done."""
        if not self._directory:
            return
        try:
            write_textfile(self._collector, self._directory)
            self._failed = False
        except ForktraceError as error:
            if not self._failed:
                print(f"forktrace: warning: {error.message}", file=sys.stderr)
            self._failed = True


@contextmanager
def _shown(session: Session, forks: deque[Fork]) -> Iterator[Callable[[], bool]]:
    """Show what top shows, on a terminal; yields what keeps it up to date.

    That returns False once the person at the keyboard has seen enough.
    """
    if not can_take_over(sys.stdout):
        yield lambda: True
        return
    display = Display(session, forks, TopState(), REFRESH_SECONDS)
    with screen(display) as refresh:

        def go_on() -> bool:
            refresh()
            return not display.state.quit

        yield go_on


def _watch(
    session: Session,
    stop: Stop,
    pulse: Pulse,
    textfile: Textfile,
    go_on: Callable[[], bool],
    *,
    audited: bool,
) -> None:
    """Keep windows, warnings, textfile and live view going until it is time."""
    audit = AuditWindows(session, time.monotonic()) if audited else None
    while not stop and go_on():
        session.poll(TICK_MS)
        if audit:
            audit.tick(time.monotonic())
        textfile.tick(time.monotonic())
        pulse.tick(time.monotonic())
        warn(session)
        # A burst of samples wakes poll early; there is nothing to hurry for.
        time.sleep(0.05)
