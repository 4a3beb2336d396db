"""The live table: who forks and what it costs, as lines that fit a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forktrace.activity import Usage, Window
from forktrace.text import printable
from forktrace.views import parts
from forktrace.views.keys import MOVES
from forktrace.views.lines import ranked
from forktrace.views.units import duration, size

SORTS: dict[str, tuple[str, Callable[[Usage], object]]] = {
    "cost": ("c", lambda usage: -usage.copy_ns),
    "forks": ("f", lambda usage: -usage.forks),
    "duration": ("d", lambda usage: -usage.max_ns),
    "tables": ("p", lambda usage: -usage.page_table_bytes),
    "waste": ("x", lambda usage: -usage.discarded_bytes),
    "name": ("n", lambda usage: usage.comm),
}
"""What rows can be sorted by: the key to press, and the order."""

HEADER = (
    f"{'COMM':<15} {'PID':>7} {'FORKS/s':>7} {'MEAN':>7} {'MAX':>7} {'COPY/s':>7} "
    f"{'TABLES/s':>8} {'EXEC':>4}  COPIED BY"
)
OPEN = ("\r", "\n", "e")
"""Keys that explain the process of the selected row."""
SELECT_HELP = (
    "Arrows (or j, k) select a row, Enter (or e) explains its process, Esc goes back."
)
HELP = (
    "Sort by c cost (time copying), f forks, d longest fork, p page tables, x thrown",
    "away by exec, n name. / filter by name, space pause, q quit, h this help.",
    "MEAN and MAX are of whole forks. COPY/s is time in copy_page_range in a second.",
    "TABLES/s are page tables allocated. EXEC is the share of children that called",
    "exec, so that all was copied for nothing. COPIED BY: triggers, by time; then",
    "forks that failed, and calls of vfork or posix_spawn, which copy nothing.",
)


@dataclass
class TopState:
    """What the person at the keyboard wants to see.

    With ``cursor`` a row is selected: by its ``place`` until a key moved it, and then
    by its name, wherever that goes. ``names`` are those of the rows.
    """

    sort: str = "cost"
    comm: str = ""
    paused: bool = False
    help: bool = False
    quit: bool = False
    typing: bool = False
    cursor: bool = False
    place: int = 0
    selected: str | None = None
    names: Sequence[str] = ()
    comms: Sequence[str] = ()

    def press(self, key: str) -> None:
        """Take one key."""
        if self.typing:
            self._type(key)
        elif key == "q":
            self.quit = True
        elif key == " ":
            self.paused = not self.paused
        elif key in "h?":
            self.help = not self.help
        elif key in MOVES:
            self.place = _within(self.place + MOVES[key], self.names)
            self.selected = self.names[self.place] if self.names else None
        elif key == "/":
            self.typing, self.comm = True, ""
        else:
            for name, (letter, _) in SORTS.items():
                if key == letter:
                    self.sort = name

    def _type(self, key: str) -> None:
        if key in "\r\n":
            self.typing = False
        elif key == "\x1b":
            self.typing, self.comm = False, ""
        elif key in "\x7f\b":
            self.comm = self.comm[:-1]
        elif len(key) == 1 and key.isprintable():
            self.comm += key

    def select(self, names: Sequence[str]) -> int:
        """Return which of these rows is selected."""
        self.names = names
        if self.selected in names:
            self.place = names.index(self.selected)
        self.place = _within(self.place, names)
        return self.place


def _within(place: int, names: Sequence[str]) -> int:
    return max(0, min(place, len(names) - 1))


def lines(window: Window, state: TopState, title: str, rows: int = 0) -> list[str]:
    """Return the whole view, at most ``rows`` lines of it where that is not 0."""
    head = [*_head(window, state, title), HEADER]
    usages = chosen(window, state)
    body = [_row(usage) for usage in usages] or ["no fork yet"]
    place = state.select([usage.comm for usage in usages])
    if state.cursor and usages:
        body[place] = f"\x1b[7m{body[place]}\x1b[0m"
    if state.help:
        head = [*HELP, *[SELECT_HELP][: state.cursor], *head]
    room = max(1, rows - len(head)) if rows else len(body)
    if len(body) > room:
        left = len(body) - room + 1
        first = max(0, place - room + 2) if state.cursor else 0
        body = [*body[first : first + room - 1], f"and {left} more"]
    return [*head, *body][: rows or None]


def _head(window: Window, state: TopState, title: str) -> list[str]:
    seconds = window.seconds
    found = [
        title,
        f"{window.forks / seconds:.1f} forks/s took {duration(_rate(window))} of each "
        f"second, {_spent(window)}" + (" -- paused" if state.paused else ""),
    ]
    own = own_share(window)
    notes = [f"tracing took {own:.1%} of fork time"] if own is not None else []
    if window.failures:
        notes.append(f"failed: {ranked(window.failures)}")
    lost = {stage: n for stage, n in window.totals.lost.items() if n}
    if lost:
        notes.append("lost: " + ", ".join(f"{n} {stage}" for stage, n in lost.items()))
    if state.comms:
        notes.append(f"only {' or '.join(map(printable, state.comms))}")
    if state.comm or state.typing:
        notes.append(f"only names with {state.comm!r}" + ("_" if state.typing else ""))
    notes.append(f"sorted by {state.sort}")
    if state.cursor:
        notes.append("Enter explains, h helps, q quits")
    return [*found, "; ".join(notes)]


def _spent(window: Window) -> str:
    """Name the largest part of the time, and copying in any case."""
    whole = window.fork_ns or 1
    said = f"{window.copy_ns / whole:.0%} of it {parts.WORDS['copy']}"
    most = parts.largest(window.parts)
    if most in (None, "copy"):
        return said
    return f"{window.parts[most] / whole:.0%} of it {parts.WORDS[most]}, {said}"


def _rate(window: Window) -> float:
    return window.fork_ns / window.seconds


def own_share(window: Window) -> float | None:
    """Return our programs' time as a share of all forks', None where not measured."""
    whole = window.totals.fork_duration.sum_ns
    if not (window.totals.programs and whole):
        return None
    return sum(program.run_ns for program in window.totals.programs) / whole


def chosen(window: Window, state: TopState) -> list[Usage]:
    """Return what the rows are of, in their order."""
    _, order = SORTS[state.sort]
    chosen = [usage for usage in window.usages if state.comm in usage.comm]
    return sorted(chosen, key=lambda usage: (order(usage), usage.comm))


def _row(usage: Usage) -> str:
    per = 1 / usage.seconds
    whole = sum(usage.triggers.values())
    causes = ", ".join(
        f"{name} {ns / whole:.0%}"
        for name, ns in usage.triggers.items()
        if ns * 200 >= whole > 0
    )
    mean = duration(usage.mean_ns) if usage.max_ns else "-"
    longest = duration(usage.max_ns) if usage.max_ns else "-"
    wasted = f"{usage.discards / usage.forks:.0%}" if usage.forks else "-"
    said = [causes] if causes else []
    if usage.failed:
        said.append(f"{usage.failed:,} failed")
    if usage.vforks.calls:
        said.append(f"{usage.vforks.calls * per:.1f} vforks/s")
    return (
        f"{printable(usage.comm):<15} {_whose(usage):>7} {usage.forks * per:>7.1f} "
        f"{mean:>7} {longest:>7} {duration(usage.copy_ns * per):>7} "
        f"{size(usage.page_table_bytes * per):>8} {wasted:>4}  {'; '.join(said)}"
    )


def _whose(usage: Usage) -> str:
    """Return the PID; of several processes, how many there are."""
    if usage.more_pids:
        return f"over {len(usage.pids)}"
    if len(usage.pids) > 1:
        return f"{len(usage.pids)} PIDs"
    return str(usage.pids[0]) if usage.pids else "-"
