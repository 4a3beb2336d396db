"""``forktrace top``: who forks on this host, how long, and why, kept up to date."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forktrace.activity import Activity, Window
from forktrace.comms import Comms
from forktrace.log import logger
from forktrace.model import Fork
from forktrace.stop import Stop
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.tracing import announce, warn
from forktrace.views import lines
from forktrace.views.colour import print_lines
from forktrace.views.terminal import Screen
from forktrace.views.top import OPEN, TopState, chosen
from forktrace.views.top import lines as top_lines

if TYPE_CHECKING:
    from forktrace.explained import Explained

_POLL_MS = 100


@dataclass(frozen=True)
class Options:
    """What ``top`` was asked for; ``count`` 0 means no bound."""

    sort: str
    comms: Sequence[str]
    interval: float
    count: int
    plain: bool
    as_json: bool
    attach: AttachMode
    decision: DecisionMode
    self_stats: bool


class Display:
    """Shows one window after the other in the way the output can take."""

    def __init__(
        self,
        session: Session,
        forks: deque[Fork],
        state: TopState,
        interval: float,
        *,
        explains: bool = False,
    ) -> None:
        """Begin the first window; forks are taken out of ``forks`` as they come in.

        ``explains``: whether this process may look into others.
        """
        self.explains = explains
        self._explained: Explained | None = None
        self._forks = forks
        self.state = state
        self._session = session
        self._interval = interval
        self._activity = Activity(session.totals(), time.monotonic())
        self._due = time.monotonic() + interval
        self._window: Window | None = None

    def due(self) -> bool:
        """Begin a new window when it is time; tell whether there is one to show."""
        while self._forks:
            self._activity.add(self._forks.popleft())
        if time.monotonic() < self._due or self.state.paused:
            return False
        self._due = time.monotonic() + self._interval
        window = self._activity.take(self._session.totals(), time.monotonic())
        self._window = window.only(Comms(self.state.comms))
        return True

    @property
    def title(self) -> str:
        """What is traced, and how."""
        session = self._session
        how = f"{session.attached}, {session.decided_by}"
        return f"forktrace on {session.kernel.release} ({how})"

    @property
    def window(self) -> Window:
        """The last window that ended."""
        if self._window is None:
            totals = self._session.totals()
            return Window(1.0, 0, 0, 0, (), totals)
        return self._window

    def lines(self, rows: int = 0) -> list[str]:
        """Return what to show of it, or of the process that is being explained."""
        if self._explained:
            return self._explained.lines(rows)
        return top_lines(self.window, self.state, self.title, rows)

    def press(self, key: str, columns: int) -> None:
        """Take one key, on a screen of this width."""
        state = self.state
        if self._explained:
            if not self._explained.press(key):
                self.close()
        elif state.cursor and not state.typing and key in OPEN:
            usages = chosen(self.window, state)
            if usages:
                usage = usages[state.select([each.comm for each in usages])]
                # Only here: the daemon, which explains nothing, need not hold it.
                from forktrace.explained import Explained  # noqa: PLC0415

                self._explained = Explained(usage.comm, usage.pids, columns)
        else:
            state.press(key)

    def news(self) -> bool:
        """Tell whether an explanation has come since."""
        return self._explained is not None and self._explained.news()

    def close(self) -> None:
        """Go back from an explanation."""
        if self._explained:
            self._explained.close()
            self._explained = None


@contextmanager
def screen(display: Display) -> Iterator[Callable[[], None]]:
    """Take the terminal over, and yield what keeps it up to date."""
    with Screen() as terminal, closing(display):
        display.state.cursor = display.explains and terminal.has_keys

        def refresh() -> None:
            typed = terminal.keys()
            for key in typed:
                display.press(key, terminal.columns)
            changed = (display.due(), display.news(), bool(typed))
            if any(changed) or rows[0] != terminal.rows:
                rows[0] = terminal.rows
                terminal.show(display.lines(terminal.rows))

        rows = [0]
        yield refresh


def show(session: Session, display: Display, stop: Stop) -> None:
    """Let people look and type until q or a signal comes."""
    with screen(display) as refresh:
        while not (stop or display.state.quit):
            session.poll(_POLL_MS)
            refresh()


def top(options: Options) -> None:
    """Show until a bound is met, q or a signal comes; then say what there was."""
    state = TopState(options.sort, comms=options.comms)
    forks: deque[Fork] = deque()
    wanted = Wanted(events=True, self_stats=options.self_stats, ring_bytes=4 << 20)
    lines_only = options.plain or options.as_json
    if not lines_only:
        logger.info("Loading the BPF program, which the first start compiles.")
    with Session(options.attach, options.decision, wanted, forks.append) as session:
        stop = Stop()
        display = Display(session, forks, state, options.interval, explains=True)
        if lines_only:
            announce(session)
            _print_windows(session, display, stop, options)
        else:
            show(session, display, stop)
        session.detach()
        warn(session)
        totals = session.totals()
    print_lines(lines.summary(totals), sys.stderr)


def _print_windows(
    session: Session, display: Display, stop: Stop, options: Options
) -> None:
    shown = 0
    while not stop:
        session.poll(_POLL_MS)
        warn(session)
        if not display.due():
            continue
        if options.as_json:
            print(json.dumps(display.window.to_json(), separators=(",", ":")))
        else:
            print(*display.lines(), "", sep="\n")
        sys.stdout.flush()
        shown += 1
        if shown == options.count:
            stop.set()
