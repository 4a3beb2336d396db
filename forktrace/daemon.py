"""``forktrace run``: trace for as long as the host lives and serve the metrics."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from prometheus_client.registry import Collector

from forktrace import privileges
from forktrace.cgroups.watched import WatchedUnits
from forktrace.errors import ForktraceError, UsageError
from forktrace.exporter.health import Health
from forktrace.exporter.listen import inherited, listen, parse_address
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.page import LATEST_FORKS, landing_page
from forktrace.exporter.textfile import check_directory, write_textfile
from forktrace.exporter.watched import Choice, watching
from forktrace.exporter.web import Content, Server
from forktrace.exporter.webconfig import WatchedWebConfig
from forktrace.log import logger
from forktrace.model import Fork
from forktrace.stop import Stop
from forktrace.systemd import Watchdog
from forktrace.top import Display, screen
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.child import in_child
from forktrace.tracer.layout import WATCHED_CGROUPS
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
RING_BYTES, WATCHED_RING_BYTES = 1 << 20, 8 << 20
"""The larger has room for a fork with as many VMAs as are usually allowed. Either
counts twice in the daemon's memory: mapped so, no record is ever in two pieces."""


@dataclass(frozen=True)
class Options:
    """What ``run`` was asked for."""

    listen: Sequence[str]
    systemd_socket: bool
    telemetry_path: str
    max_comms: int
    max_units: int
    web_config: Path | None
    textfile: Path | None
    attach: AttachMode
    decision: DecisionMode
    self_stats: bool
    watch: Choice
    cow: bool = False


class Observed(Protocol):
    """What the windows need of a session."""

    def observe(self, on: bool) -> None:
        """Start or stop watching the forks that begin from now on."""

    def retire_witness(self) -> bool:
        """Detach the witness when the last watched fork has ended."""


class AuditWindows:
    """When ``run --decision auto`` has each decision witnessed.

    The first ten seconds, then one second in each minute: enough to notice a rule that
    is wrong, at no cost in between. A window that cannot be opened, for want of
    descriptors say, is counted, and the next one is tried.
    """

    def __init__(self, session: Observed, now: float) -> None:
        """Start in the first window; the session observes already."""
        self._session = session
        self._observing = True
        self._next = now + FIRST_AUDIT_SECONDS
        self._failing = False
        self.failures = 0

    def tick(self, now: float) -> None:
        """Open or close the window when its time has come."""
        if now >= self._next:
            self._observing = not self._observing and self._open()
            length = AUDIT_SECONDS
            if not self._observing:
                length = AUDIT_EVERY_SECONDS - AUDIT_SECONDS
                self._session.observe(False)
            self._next = now + length
        elif not self._observing:
            # A tick later: a fork that began just before may not have said so yet.
            self._session.retire_witness()

    def _open(self) -> bool:
        try:
            self._session.observe(True)
        except (ForktraceError, OSError) as error:
            self.failures += 1
            if not self._failing:
                logger.warning("Decisions are not being checked: %s", error)
            self._failing = True
            return False
        self._failing = False
        return True


def check(options: Options) -> None:
    """Raise ForktraceError for what can be seen to fail before anything is traced.

    Files are looked at with the privileges that will be left: none.
    """
    for address in options.listen:
        parse_address(address)
    if not re.fullmatch(r"/[\w.~/-]*", options.telemetry_path, re.ASCII):
        raise UsageError(
            f"{options.telemetry_path!r} is no path to serve metrics at.",
            "Write one that begins with /, as /metrics does.",
        )
    if options.telemetry_path == "/healthz":
        raise UsageError("The health of forktrace is at /healthz.", "Choose another.")

    def work() -> tuple[None, list[int]]:
        with suppress(OSError):
            privileges.give_up()
        WatchedWebConfig(options.web_config)
        if options.textfile:
            check_directory(options.textfile)
        return None, []

    if options.web_config or options.textfile:
        in_child(work)


def run(options: Options) -> None:
    """Serve until a signal comes, then say what there was. Raises ForktraceError."""
    latest: deque[Fork] = deque(maxlen=LATEST_FORKS)
    unseen: deque[Fork] = deque(maxlen=UNSEEN_FORKS)

    def deliver(fork: Fork) -> None:
        if watched:
            watched.add(fork)
            fork = replace(fork, details=None)
        latest.appendleft(fork)
        unseen.append(fork)

    tracing = options.attach, options.decision, _wanted(options), deliver
    with watching(options.watch) as watched, Session(*tracing) as session:
        stop = Stop()
        now = time.monotonic()
        node = os.environ.get("NODE_NAME", "")
        audit = AuditWindows(session, now) if options.decision == "auto" else None
        collector = ForktraceCollector(
            session.totals,
            lambda: replace(session.info, node=node),
            options.max_comms,
            session.bit_names,
            lambda: session.pulse.running,
            lambda: audit.failures if audit else 0,
            options.max_units,
            forget=session.forget_cgroups,
            watched=watched,
        )
        health = Health(collector)
        listeners = _listeners(options)
        _give_up_privileges()
        content = Content(
            new_registry(collector),
            lambda: landing_page(
                *(session.info, session.kernel.words(), session.totals()),
                *(tuple(latest), options.telemetry_path),
            ),
            health.problem,
            options.telemetry_path,
        )
        server = Server(listeners, content, options.web_config)
        try:
            announce(session, audited=audit is not None)
            for host, port in zip(_hosts(options, listeners), server.ports):
                logger.info(
                    "Metrics on %s://%s:%d%s",
                    *(server.scheme, host, port, options.telemetry_path),
                )
            written = Textfile(collector, options.textfile, time.monotonic())
            regular = [written.tick, Watchdog(health.problem, now).tick]
            if audit:
                regular.append(audit.tick)
            if units := options.watch.units:
                looks = WatchedUnits(units, WATCHED_CGROUPS, session.watch_cgroups)
                regular.append(looks.tick)
            with _shown(session, unseen) as shown:
                _watch(session, stop, health, shown, regular)
            written.write()
        finally:
            server.close()
        session.detach()
        totals = session.totals()
    print_lines(lines.summary(totals))


def _wanted(options: Options) -> Wanted:
    """Return which forks are to be told one by one: some, and all that are watched."""
    watch = options.watch
    return Wanted(
        events=True,
        details=bool(watch),
        events_a_second=SAMPLES_A_SECOND,
        pids=watch.pids,
        comms=watch.comms,
        self_stats=options.self_stats,
        cgroup_paths=False,
        ring_bytes=WATCHED_RING_BYTES if watch else RING_BYTES,
        unprivileged=True,
        watch=bool(watch),
        cow=options.cow,
    )


def _listeners(options: Options) -> list[socket.socket]:
    """Listen while it is still allowed: ports below 1024 take a privilege."""
    if options.systemd_socket:
        return inherited()
    return [listen(address) for address in options.listen]


def _hosts(options: Options, listeners: Sequence[socket.socket]) -> Iterator[str]:
    """Yield how each listener's host is written in a URL."""
    if not options.systemd_socket:
        for address in options.listen:
            yield address.strip().rpartition(":")[0] or "localhost"
        return
    for listener in listeners:
        host = listener.getsockname()[0]
        yield f"[{host}]" if ":" in host else host


def _give_up_privileges() -> None:
    """Serve without: what is attached from now on, a child of the session opens."""
    try:
        privileges.give_up()
    except OSError as error:
        logger.warning(
            "It keeps its privileges, which cannot be given up: %s.", error.strerror
        )


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
                logger.warning("%s", error.message)
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
    health: Health,
    go_on: Callable[[], bool],
    regular: Sequence[Callable[[float], None]],
) -> None:
    """Keep all that is regular, and the live view, going until it is time."""
    while not stop and go_on():
        session.poll(TICK_MS)
        health.ran()
        for tick in regular:
            tick(time.monotonic())
        warn(session)
        # A burst of samples wakes poll early; there is nothing to hurry for.
        time.sleep(0.05)
