"""kill -9 at any moment leaves nothing: probes live as long as their descriptors."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.guest.faults.leftovers import nothing_left
from tests.live.guest.programs import FORKTRACE, PATIENCE, Forktrace, run_forktrace

TIMES = 50
LATEST = 1.5
"""In times of what it takes here from a start to attached probes."""


@contextmanager
def forking_shell() -> Iterator[None]:
    shell = subprocess.Popen(["/bin/sh", "-c", "while :; do (:); sleep 0.1; done"])
    try:
        yield
    finally:
        shell.kill()
        shell.wait()


@pytest.mark.timeout(3000)
@pytest.mark.fault(
    f"kill -9 at random moments, {TIMES} times",
    "no probe, program, map, pin, lock or process is left, no file but those asked for",
)
def test_a_kill_at_any_moment_leaves_nothing(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    commands = {
        "run": ("run", "--textfile", str(tmp_path)),
        "trace": ("trace", "--vmas", "--json", "--attach", "kprobe"),
        "record": ("record", "-o", str(tmp_path / "forks.gz")),
        "selftest": ("selftest",),
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    chance = random.Random(TIMES)
    told: Counter[str] = Counter()
    with nothing_left(), forking_shell():
        began = time.monotonic()
        Forktrace(elsewhere, "trace", "--comm", "nobody").kill()
        latest = LATEST * (time.monotonic() - began)
        for number in range(TIMES):
            name = list(commands)[number % len(commands)]
            running = subprocess.Popen(
                [*FORKTRACE, *commands[name]],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            time.sleep(chance.uniform(0, latest))
            running.kill()
            errors = running.communicate(timeout=PATIENCE)[1]
            assert b"Traceback" not in errors, errors
            ended = "while tracing" if b"Tracing" in errors else "before"
            told[ended if running.returncode == -signal.SIGKILL else "at its end"] += 1
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    # The next that writes the textfile takes away what was left half written.
    left = names - {"forktrace.prom", ".forktrace.prom.tmp"}
    assert all(name.startswith("forks.gz") for name in left), left
    if (tmp_path / "forks.gz").exists():
        assert run_forktrace("report", str(tmp_path / "forks.gz")).returncode == 0
    saw("nothing left; killed " + ", ".join(f"{n} {when}" for when, n in told.items()))
