"""Calls of vfork and posix_spawn that held their caller for long, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from forktrace.fields import number_of, rfc3339, text_of, time_of

LEAST_NS = 10_000_000
"""How long a vfork holds its caller at least to be told of, unless one is asked for."""

Ended = Literal["exec", "exit"]


def least_ns(min_duration_ns: int) -> int:
    """Return how long a vfork must hold its caller, where forks take so long at least.

    Nearly every call holds it for as long as exec takes to come: hence the default.
    """
    return min_duration_ns or LEAST_NS


@dataclass(frozen=True)
class Vfork:
    """One vfork that is over, and how long it held the thread that called.

    ``time_ns`` is when the child was woken, in nanoseconds since the epoch. ``held_ns``
    goes from then until the child called exec or exited: ``ended`` tells which. All
    else is as in ``Fork``.
    """

    time_ns: int
    pid: int
    tid: int
    comm: str
    thread: str
    child_pid: int
    cgroup: str
    held_ns: int
    ended: Ended

    def to_json(self) -> dict[str, Any]:
        """Return its keys in a line of ``trace --json``, and of a recording."""
        told = {key: value for key, value in vars(self).items() if key != "time_ns"}
        return {"type": "vfork", "time": rfc3339(self.time_ns), **told}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Vfork:
        """Return what ``to_json`` made this of."""
        ended = text_of(record, "ended")
        if ended not in ("exec", "exit"):
            raise ValueError(f"a vfork ends by exec or exit: {ended!r:.40}")
        return cls(
            time_ns=time_of(record),
            pid=number_of(record, "pid"),
            tid=number_of(record, "tid"),
            comm=text_of(record, "comm"),
            thread=text_of(record, "thread"),
            child_pid=number_of(record, "child_pid"),
            cgroup=text_of(record, "cgroup"),
            held_ns=number_of(record, "held_ns"),
            ended=cast(Ended, ended),
        )
