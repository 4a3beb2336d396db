"""How long the daemon takes to be attached, and how much memory it keeps."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_SETTLE_SECONDS = 2.0


def measure_daemon(way: str) -> dict[str, Any]:
    """Start ``forktrace run``, let it settle, look at its memory, and end it.

    ``start_ns`` passed until it said that it traces; ``rss_bytes`` is what was resident
    in all of its processes a little later.
    """
    began = time.monotonic_ns()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "forktrace", "run"),
            *("--attach", way, "--decision", "rule"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    with process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("Tracing forks on"):
                break
        else:
            raise RuntimeError(f"forktrace did not attach: {''.join(said)}")
        start_ns = time.monotonic_ns() - began
        time.sleep(_SETTLE_SECONDS)
        rss = sum(resident_bytes(pid) for pid in with_children(process.pid))
        process.terminate()
        process.stderr.read()
    return {"start_ns": start_ns, "rss_bytes": rss}


def with_children(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            for child in (task / "children").read_text().split():
                found += with_children(int(child))
    return found


def resident_bytes(pid: int) -> int:
    """Return VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
