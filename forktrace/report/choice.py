"""Which forks of a recording a report is about: ``--comm`` and ``--since``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from forktrace.comms import Comms
from forktrace.cow import Cow
from forktrace.errors import UsageError
from forktrace.fields import rfc3339
from forktrace.model import Exec, Fork
from forktrace.recording.reader import Record
from forktrace.recording.records import Mappings
from forktrace.vforks import Vfork

_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:d|h|min|m|s|ms))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|min|ms|m|s)", re.ASCII)
_UNIT_NS = {
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "min": 60 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?)?"
    r"(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# An exec comes soon after its fork; a child may live on for long.
_MOST_CHILDREN = 65_536


@dataclass(frozen=True)
class Choice:
    """The forks that are shown; what is empty leaves the choice open.

    ``last_ns`` counts from the recording's end. ``at`` makes ``since_ns`` of it, the
    nanoseconds since the epoch from which on forks are shown.
    """

    comms: tuple[str, ...] = ()
    since_ns: int = 0
    last_ns: int | None = None

    @classmethod
    def of(cls, comms: Iterable[str], since: str | None) -> Choice:
        """Return what the command line means; raises UsageError."""
        chosen = cls(tuple(comms))
        if since is None:
            return chosen
        if _DURATION.fullmatch(since):
            parts = _PART.findall(since)
            last_ns = sum(int(float(count) * _UNIT_NS[unit]) for count, unit in parts)
            return replace(chosen, last_ns=last_ns)
        return replace(chosen, since_ns=_time_ns(since))

    def __bool__(self) -> bool:
        """Tell whether some forks may be left out."""
        return self != Choice()

    def at(self, ended_ns: int) -> Choice:
        """Return the same for a recording that ended then."""
        if self.last_ns is None:
            return self
        return Choice(self.comms, max(1, ended_ns - self.last_ns))

    def to_json(self) -> dict[str, Any]:
        """Return what a report says of it."""
        since = rfc3339(self.since_ns) if self.since_ns else None
        return {"comms": list(self.comms), "since": since}


ALL = Choice()
"""Every fork."""


class Chosen:
    """Lets through the chosen forks, what belongs to them, and what tells of losses."""

    def __init__(self, choice: Choice) -> None:
        """Begin with none; ``forks`` counts all, those that are left out too."""
        self._all = not choice
        self._since_ns = choice.since_ns
        self._comms = Comms(choice.comms)
        # Each is told of once in either way.
        self._children: dict[type, dict[int, None]] = {Exec: {}, Cow: {}}
        self.forks = 0

    def of(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield them in order."""
        names: Mappings | None = None
        for record in records:
            if isinstance(record, Mappings):
                # They belong to the fork that comes next.
                names = record
            elif isinstance(record, Fork):
                self.forks += 1
                if self._fits(record):
                    self._note(record.child_pid)
                    if names:
                        yield names
                    yield record
                names = None
            elif isinstance(record, (Exec, Cow)):
                if self._knows(record):
                    yield record
            elif not isinstance(record, Vfork) or self._fits(record):
                yield record

    def _fits(self, call: Fork | Vfork) -> bool:
        return call.time_ns >= self._since_ns and self._comms.fit(
            call.comm, call.thread
        )

    def _knows(self, end: Exec | Cow) -> bool:
        children = self._children[type(end)]
        known = end.pid in children
        children.pop(end.pid, None)
        return known or self._all

    def _note(self, child_pid: int) -> None:
        for children in self._children.values():
            if child_pid:
                children[child_pid] = None
            if len(children) > _MOST_CHILDREN:
                del children[next(iter(children))]


def _time_ns(said: str) -> int:
    """Return the nanoseconds since the epoch of an ISO 8601 time; UTC if it says no."""
    found = _TIME.fullmatch(said)
    if not found:
        raise _no_time(said)
    day, minute, second, fraction, zone = found.groups()
    zone = "+0000" if zone in (None, "Z") else zone.replace(":", "")
    whole = f"{day} {minute or '00:00'}{second or ':00'}{zone}"
    try:
        moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S%z")
    except ValueError:
        raise _no_time(said) from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return max(1, seconds * 10**9 + int((fraction or "0").ljust(9, "0")))


def _no_time(said: str) -> UsageError:
    return UsageError(
        f"--since {said!r:.60} is neither a time nor a duration.",
        "Write 2026-11-28T12:30 (UTC), or 10m for the recording's last 10 minutes.",
    )
