"""What fork copied of the processes that are watched, mapping by mapping, by name.

The kernel side adds up by trigger; by mapping it cannot, for it does not know their
names. So here each copied VMA of each watched fork is added up in user space: what the
ring buffer lost is missing here, and counted among the losses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from prometheus_client.core import Metric

from forktrace.errors import UsageError
from forktrace.exporter.bounded import Bounded, Cost
from forktrace.exporter.families import NS, counter
from forktrace.log import logger
from forktrace.maps_child import MapsChild
from forktrace.model import OTHER, Fork
from forktrace.recording.names import Span, names_by_span
from forktrace.report.names import ANONYMOUS, NOT_KNOWN
from forktrace.text import encodable

MOST_MAPPINGS = 15
"""How many pairs of process name and mapping have series of their own: three each."""

MOST_PAIRS_BESIDES = 8
"""How many pairs of a process name and a trigger then have: together with those no more
series than without."""

# Names told apart before all further ones are one: of memfds, say, no two may be alike.
_MOST_NAMES = 4096
_LONGEST_NAME = 200

# Names are read anew for a fork when they are so old, or so old and lack a mapping.
_OLD_SECONDS, _LACKING_SECONDS = 1.0, 0.1
_MOST_PROCESSES = 64

_PID = re.compile(r"[1-9][0-9]{0,9}")
_UNITS = (".service", ".scope", ".slice", ".mount", ".socket", ".swap")


@dataclass(frozen=True)
class Choice:
    """What is watched: a process is if any of these fits it."""

    pids: Sequence[int] = ()
    comms: Sequence[str] = ()
    units: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is."""
        return self != Choice()


def choice_of(words: Sequence[str]) -> Choice:
    """Return what words mean: a PID, a unit or the path of a cgroup, else a name.

    Raises UsageError for a word that can be nothing of it.
    """
    pids, comms, units = [], [], []
    for word in words:
        if not word.strip("/"):
            raise UsageError(
                f"{word!r} cannot be watched.",
                "Name a process by its PID or its name, or a unit of systemd.",
            )
        if _PID.fullmatch(word):
            pids.append(int(word))
        elif "/" in word or word.endswith(_UNITS):
            units.append(word)
        else:
            comms.append(word)
    return Choice(tuple(pids), tuple(comms), tuple(units))


class MappingNames:
    """Names of the mappings of watched processes, asked for as seldom as will do."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """``read`` returns the maps of a process, nothing if they cannot be had."""
        self._read = read
        self._known: dict[int, tuple[float, Mapping[Span, str]]] = {}

    def of(self, pid: int, spans: Sequence[Span]) -> Mapping[Span, str]:
        """Return the names of all mappings of a process, "" for anonymous memory.

        ``spans`` are those that are wanted: names are as old as a second if they are
        all known then. Of a process that is gone, they are those it had before.
        """
        then, names = self._known.get(pid, (float("-inf"), {}))
        age = time.monotonic() - then
        lacking = any(span not in names for span in spans)
        if age < (_LACKING_SECONDS if lacking else _OLD_SECONDS):
            return names
        names = names_by_span(self._read(pid)) or names
        self._known.pop(pid, None)
        self._known[pid] = (time.monotonic(), names)
        if len(self._known) > _MOST_PROCESSES:
            del self._known[next(iter(self._known))]
        return names


class Watched:
    """Adds up what was copied, for the metrics.

    ``add`` is for the thread that traces, ``families`` for one scrape at a time.
    """

    def __init__(self, names: MappingNames) -> None:
        """Start with nothing."""
        self._names = names
        self._bounded = Bounded[tuple[str, str]](MOST_MAPPINGS, (OTHER, OTHER))
        self._costs: dict[tuple[str, str], Cost] = {}
        self._grown: set[tuple[str, str]] = set()
        self._lock = Lock()

    def add(self, fork: Fork) -> None:
        """Take a fork that came with its VMAs."""
        copied = [vma for vma in fork.details or () if vma.decision == "copy"]
        if not copied:
            return
        names = self._names.of(fork.pid, [(vma.start, vma.end) for vma in copied])
        comm = encodable(fork.comm)
        with self._lock:
            for vma in copied:
                name = names.get((vma.start, vma.end), NOT_KNOWN) or ANONYMOUS
                key = comm, _cut(name)
                if key not in self._costs and len(self._costs) >= _MOST_NAMES:
                    key = OTHER, OTHER
                cost = Cost(1, vma.copy_ns, vma.page_table_bytes)
                self._costs[key] = self._costs.get(key, Cost()).plus(cost)
                self._grown.add(key)

    def families(self) -> Iterator[Metric]:
        """Yield the families of one scrape."""
        with self._lock:
            grown = [(key, self._costs[key]) for key in self._grown]
            self._grown.clear()
        yield from _families(self._bounded.update(sorted(grown)))


@contextmanager
def watching(choice: Choice) -> Iterator[Watched | None]:
    """Yield what adds them up, None if nobody is watched.

    It is to be called with the privileges that are given up later.
    """
    if not choice:
        yield None
        return
    names = MapsChild()
    try:
        if not names.read(1):
            logger.warning(
                "Mappings of other users' processes will have no names: that takes "
                "CAP_SYS_PTRACE, and the host's PID namespace."
            )
        yield Watched(MappingNames(names.read))
    finally:
        names.close()


def _cut(name: str) -> str:
    """Return a name that is no longer than a label should be: its end tells most."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"...{name[3 - _LONGEST_NAME :]}"


def _families(costs: Mapping[tuple[str, str], Cost]) -> Iterator[Metric]:
    whose = (
        "of the processes that run --watch names, by name (comm) and mapping; the "
        "heaviest pairs have their own series, the rest is in comm=other, "
        "mapping=other."
    )
    labels = ["comm", "mapping"]
    yield counter(
        "forktrace_watched_mapping_copied_vmas",
        f"VMAs whose page tables fork copied, {whose}",
        labels,
        [(pair, cost.number) for pair, cost in costs.items()],
    )
    yield counter(
        "forktrace_watched_mapping_copy_seconds",
        f"Seconds spent copying page tables in fork, {whose}",
        labels,
        [(pair, cost.copy_ns / NS) for pair, cost in costs.items()],
        "seconds",
    )
    yield counter(
        "forktrace_watched_mapping_page_table_bytes",
        f"Bytes of page tables newly allocated for children, {whose}",
        labels,
        [(pair, cost.page_table_bytes) for pair, cost in costs.items()],
        "bytes",
    )
