"""What can be attached while the workloads fork: nothing, forktrace, bpftrace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.packages import MOUNT_POINTS

HERE = Path(__file__).resolve().parent
WAYS = ("fentry", "kprobe")

_ATTACHED = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
"""With a variable of this name set, bpftrace prints the name once it is attached."""


@dataclass(frozen=True)
class Counted:
    """What a tracer says it saw while it was attached."""

    forks: int = 0
    copied: int = 0
    skipped: int = 0
    page_table_bytes: int = 0


@dataclass
class Tracer:
    """A tracer under way.

    ``start_ns`` passed until its probes were attached; ``ready`` is what it said then;
    ``counted`` is there once it has ended.
    """

    start_ns: int = 0
    ready: dict[str, int] = field(default_factory=dict)
    counted: Counted = field(default_factory=Counted)

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {"start_ns": self.start_ns, **asdict(self.counted)}


@contextmanager
def nothing() -> Iterator[Tracer]:
    """Attach nothing."""
    yield Tracer()


@contextmanager
def forktrace(way: str, *options: str) -> Iterator[Tracer]:
    """Attach forktrace, deciding by rule; without options nobody listens."""
    began = time.monotonic_ns()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.tracer", "--attach", way, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process:
        ready = json.loads(process.stdout.readline())
        tracer = Tracer(time.monotonic_ns() - began, ready)
        yield tracer
        process.stdin.close()
        said = json.loads(process.stdout.readline())
    if said.pop("lost"):
        raise RuntimeError("forktrace lost something while it was measured")
    tracer.counted = Counted(**said)


@contextmanager
def bpftrace(root: Path, script: Path, mask: int, offset: int) -> Iterator[Tracer]:
    """Attach a script with the bpftrace of ``root``."""
    shutil.copy(script, "/tmp")
    began = time.monotonic_ns()
    process = subprocess.Popen(
        [
            *("chroot", str(root), "/usr/bin/bpftrace", "-f", "json"),
            *(f"/tmp/{script.name}", f"{mask:#x}", str(offset)),
        ],
        env={**os.environ, _ATTACHED: "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    with process:
        said = []
        for line in process.stdout:
            said.append(line)
            if _ATTACHED in line:
                break
        else:
            raise RuntimeError(f"bpftrace did not attach: {''.join(said)}")
        tracer = Tracer(time.monotonic_ns() - began)
        yield tracer
        process.send_signal(signal.SIGINT)
        tracer.counted = read_maps(process.stdout.read())


def read_maps(text: str) -> Counted:
    """Return what bpftrace printed at its end: JSON, a line a map."""
    maps: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if record["type"] in ("map", "stats"):
                maps.update(record["data"])
    return Counted(
        forks=maps.get("@forks", {}).get("count", 0),
        copied=sum(row["count"] for row in maps.get("@copy", {}).values()),
        skipped=maps.get("@skip", 0),
        page_table_bytes=sum(maps.get("@page_tables", {}).values()),
    )


def mount_root(root: Path) -> None:
    """Give the chroot at ``root`` this guest's own proc, sys, dev and tmp."""
    for name in MOUNT_POINTS:
        subprocess.run(["mount", "--rbind", f"/{name}", root / name], check=True)
