"""Measures inside the guest: each workload's forks under each tracer.

    python -m tests.bench.guest BPFTRACE_ROOT

Writes ``guest.json`` to $RESULTS: ``clock`` (its source), ``forks`` (by tracer and
workload: instructions of each fork), ``writes`` (by tracer: instructions of all write
faults after each of some forks), ``tracers`` (how long each took to be attached and
what it counted) and ``daemon`` (start and memory of ``forktrace run``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager as Context
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.bench import tracers
from tests.bench.daemon import measure_daemon
from tests.bench.figures import (
    AFTER,
    BEFORE,
    OPTIONS,
    WITH_OPTIONS,
    WORKLOADS,
    WRITES,
)
from tests.bench.tracers import Tracer

_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_FAULTS_ARE_SHOWN = Path("/proc/sys/debug/exception-trace")


class Forker:
    """A process that forks and measures when it is asked to: a module with ``go``."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Start it and wait until its VMAs are there."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def go(self) -> dict[str, Any]:
        """Fork and return what the workload says."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a workload ended before its time")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        with self._process as process:
            assert process.stdin
            process.stdin.close()


@contextmanager
def forkers() -> Iterator[dict[str, Forker]]:
    """Start every workload; they live side by side, and one at a time forks."""
    with ExitStack() as stack:
        started = {}
        for workload in WORKLOADS:
            started[workload.name] = Forker("workload", *workload.arguments())
            stack.callback(started[workload.name].close)
            say(f"made {workload.name}")
        yield started


def main() -> None:
    """Measure everything; say what is going on."""
    root = Path(sys.argv[1])
    tracers.mount_root(root)
    # The children of a workload end by a fault, and the kernel would say so each time.
    _FAULTS_ARE_SHOWN.write_text("0")
    found: dict[str, Any] = {"clock": _CLOCK.read_text().strip()}
    found["forks"], found["writes"], found["tracers"] = {}, {}, {}
    writer = Forker("write_faults", "--pages", str(WRITES))
    with forkers() as started, closing(writer):

        def measure(name: str, attached: Context[Tracer]) -> Tracer:
            with attached as tracer:
                for forker in started.values():
                    forker.go()
                answers = {work: forker.go() for work, forker in started.items()}
                found["writes"][name] = writer.go()["ns"]
            found["forks"][name] = {work: a["ns"] for work, a in answers.items()}
            found["tracers"][name] = tracer.to_json()
            say(f"measured with {name}")
            return tracer

        # The first forks of a kernel find its caches empty.
        measure(BEFORE, tracers.nothing())
        for way in tracers.WAYS:
            ready = measure(f"forktrace {way}", tracers.forktrace(way)).ready
        for name, option in zip(WITH_OPTIONS, OPTIONS):
            measure(name, tracers.forktrace(tracers.WAYS[0], f"--{option}"))
        measure(BEFORE, tracers.nothing())
        numbers = ready["mask"], ready["offset"]
        for way in tracers.WAYS:
            for name, script in (
                ("bpftrace", f"{way}.bt"),
                ("empty", f"empty_{way}.bt"),
            ):
                attached = tracers.bpftrace(root, tracers.HERE / script, *numbers)
                measure(f"{name} {way}", attached)
        measure(AFTER, tracers.nothing())
    found["daemon"] = {way: measure_daemon(way) for way in tracers.WAYS}
    Path(os.environ["RESULTS"], "guest.json").write_text(json.dumps(found))


def say(line: str) -> None:
    """Tell the people who wait."""
    print(f"{time.monotonic():8.2f} {line}", flush=True)


if __name__ == "__main__":
    main()
