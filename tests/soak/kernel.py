"""What the kernel itself says: how many forks there were, and whether it complained."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.live.guest.programs import TRACEFS, counted_events


@contextmanager
def fork_count() -> Iterator[Callable[[], int]]:
    """Have the kernel count forks (without CLONE_VM, 0x100) by its event for new tasks.

    Yields a function that returns how many there have been so far.
    """
    instance = TRACEFS / "instances/soak"
    instance.mkdir()
    try:
        event = instance / "events/task/task_newtask"
        (event / "filter").write_text("!(clone_flags & 0x100)")
        (event / "enable").write_text("1")
        yield lambda: counted_events(instance)
    finally:
        instance.rmdir()


def log() -> str:
    """Return all that the kernel logged."""
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True)
    return said.stdout


_COMPLAINT = re.compile(
    r"WARNING:|BUG:|Oops|general protection|possible .*(?:deadlock|recursion)|"
    r"suspicious RCU|blocked for more than|soft lockup|hard LOCKUP|Call Trace"
)
_STALL = re.compile(r"rcu: .*(?:self-detected stall|detected stalls)")
_OURS = re.compile(r"bpf_prog_|bpf_trampoline")
_REPORT_LINES = 60
"""So long is a report of a stall with its backtraces, at most."""


def complaints(text: str) -> tuple[list[str], int]:
    """Return the lines of a kernel log that complain, and how many RCU stalls are not.

    An emulated CPU stands still whenever its host has something better to do, which
    RCU takes for a stall. Such a one is only counted, unless a BPF program or
    trampoline stands in its backtraces.
    """
    lines, excused, said, number = text.splitlines(), 0, [], 0
    while number < len(lines):
        if _STALL.search(lines[number]):
            report = lines[number : number + _REPORT_LINES]
            if any(map(_OURS.search, report)):
                said.append(lines[number])
            else:
                excused += 1
            number += _report_length(report)
        elif _COMPLAINT.search(lines[number]):
            said.append(lines[number])
            number += 1
        else:
            number += 1
    return said, excused


def _report_length(report: list[str]) -> int:
    """Return how many lines belong to a stall: up to another complaint."""
    for number, line in enumerate(report[1:], 1):
        if _STALL.search(line) or re.search(r"WARNING:|BUG:|Oops", line):
            return number
    return len(report)
