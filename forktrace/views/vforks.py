"""What a report says of vfork: all of the host together, and the longest one by one."""

from __future__ import annotations

from datetime import datetime, timezone

from forktrace.report.study import Study
from forktrace.text import named, printable
from forktrace.vforks import Vfork, least_ns
from forktrace.views.lines import in_thread
from forktrace.views.units import counted, duration


def recorded_words(study: Study) -> str:
    """Say how many were recorded one by one, and which are shown."""
    least = duration(least_ns(study.header.filters.min_duration_ns))
    calls = counted(study.vforks, "call")
    shown = len(study.longest_vforks)
    which = f"; the {shown} longest" if study.vforks > shown else ""
    return f"{calls} of vfork or posix_spawn held the caller for {least} or more{which}"


def longest(study: Study) -> list[str]:
    """Return a line for each of the longest, in the text of a report."""
    return [_line(vfork) for vfork in study.longest_vforks]


def clock(vfork: Vfork) -> str:
    """Return when its child was woken, UTC."""
    began = datetime.fromtimestamp(vfork.time_ns // 10**9, timezone.utc)
    return f"{began:%H:%M:%S}.{vfork.time_ns // 10**6 % 1000:03d}"


def _line(vfork: Vfork) -> str:
    return (
        f"  {duration(vfork.held_ns):>8} at {clock(vfork)} by {named(vfork.comm)}"
        f"[{vfork.pid}]{in_thread(vfork)} -> {vfork.child_pid}, until {vfork.ended}, "
        f"in {printable(vfork.cgroup)}"
    )
