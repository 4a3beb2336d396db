"""How a workload talks: JSON lines on stdout, one command a line on stdin.

A workload says ``{"pid": ...}`` and more when it is ready, obeys the commands it knows
and answers each with one line, and ends at the end of stdin. ``--now`` does the work at
once instead, for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def say(record: Mapping[str, Any]) -> None:
    """Print one JSON line at once."""
    print(json.dumps(record), flush=True)


def obey(commands: Mapping[str, Callable[[], Mapping[str, Any]]], *, now: bool) -> None:
    """Answer each line of stdin, or with ``now`` do each command once.

    An unknown command is answered with an ``error`` that names the known ones.
    """
    if now:
        for command in commands.values():
            say(command())
        return
    # readline, not iteration: what stands behind a line may not be read ahead of it.
    for line in iter(sys.stdin.readline, ""):
        word = line.strip()
        if word in commands:
            say(commands[word]())
        else:
            say({"error": f"unknown command {word!r}", "known": list(commands)})
