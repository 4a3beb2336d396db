"""The host changes under a running tracer: clock, CPUs, pids, tracing switched off."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.live.guest.faults.watched import Daemon, daemon, fork
from tests.live.guest.programs import Forktrace, run_forktrace, wait_until

PORT = 19460
FORKS = 23
KERNEL = Path("/proc/sys/kernel")


@pytest.fixture(scope="module", params=["fentry", "kprobe"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp(request.param)
    with daemon(folder, PORT, "--attach", request.param) as running:
        yield running


@contextmanager
def written(path: Path, value: str) -> Iterator[None]:
    """Have ``value`` in a file of the kernel for a while."""
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)


HOUR = 3600


def step_clock(seconds: int) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


@pytest.mark.fault(
    "the clock stepped an hour forward and back",
    "durations stay sane, each time stamp is the clock's at that fork",
)
def test_a_stepped_clock_bends_no_duration_and_no_time(
    run: Daemon, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    trace = Forktrace(tmp_path, "trace", "--json")
    path = tmp_path / "forks.gz"
    record = Forktrace(tmp_path, "record", "-o", str(path))
    farthest = longest = 0.0
    try:
        with run.counting_exactly() as made:
            for step in (0, HOUR, -HOUR, -HOUR, HOUR):
                step_clock(step)
                seen, began = len(trace.forks()), time.time()
                made.append(fork(3))
                wait_until(lambda seen=seen: len(trace.forks()) >= seen + 3)
                ended = time.time()
                for told in trace.forks()[seen:]:
                    at = datetime.fromisoformat(told["time"][:26] + "+00:00")
                    late = max(began - at.timestamp(), at.timestamp() - ended, 0)
                    farthest = max(farthest, late)
                    longest = max(longest, told["duration_ns"] / 1e9)
        assert (trace.stop(), record.stop()) == (0, 0)
    finally:
        trace.kill()
        record.kill()
    # The kernel's two clocks are read one after the other, between which others run.
    assert farthest < 1
    assert 0 < longest < HOUR / 60
    assert run_forktrace("report", str(path)).returncode == 0
    saw(
        f"time stamps off by {farthest * 1e3:.1f} ms at most; "
        f"longest fork {longest * 1e3:.1f} ms"
    )


@pytest.mark.fault(
    "a CPU taken offline and back online", "every fork on every CPU is counted"
)
def test_a_cpu_that_leaves_and_comes_back_loses_no_fork(
    run: Daemon, saw: Callable[[str], None]
) -> None:
    online = Path("/sys/devices/system/cpu/cpu1/online")
    with run.counting_exactly() as made:
        for _ in range(3):
            with written(online, "0"):
                made.append(fork(FORKS))
            for cpu in (0, 1):
                os.sched_setaffinity(0, {cpu})
                made.append(fork(FORKS))
            os.sched_setaffinity(0, {0, 1})
    saw(f"{sum(made)} forks of {sum(made)}, three times offline and online")


@pytest.mark.fault(
    "process ids wrap around (pid_max 500)",
    "exec discards are those of the forked children alone",
)
def test_reused_pids_are_not_taken_for_children_that_exec(
    run: Daemon, saw: Callable[[str], None]
) -> None:
    """A plain fork leaves a child that may exec; its id then goes to a spawned one."""
    rounds = 600
    name = "forktrace_exec_discards_total"
    with written(KERNEL / "pid_max", "500"), run.counting_exactly() as made:
        before = run.value(name)
        pids = set()
        for _ in range(rounds):
            made.append(fork(1))
            pids.add(spawned := os.posix_spawn("/bin/true", ["true"], {}))
            os.waitpid(spawned, 0)
        mixed_up = run.value(name) - before
        for _ in range(FORKS):
            made.append(1)
            if not (child := os.fork()):
                os.execv("/bin/true", ["true"])
            os.waitpid(child, 0)
        discards = run.value(name) - before
    assert len(pids) < rounds
    assert (mixed_up, discards) == (0, FORKS)
    saw(
        f"{discards:.0f} discards of {FORKS}, {mixed_up:.0f} mixed up, "
        f"{sum(made)} forks"
    )


@pytest.mark.fault(
    "kernel.ftrace_enabled=0 while tracing",
    "the kernel refuses it or the daemon says that its probes are off",
)
def test_ftrace_switched_off_is_noticed(
    run: Daemon, saw: Callable[[str], None]
) -> None:
    switch = KERNEL / "ftrace_enabled"
    with run.counting_exactly() as made:
        try:
            with written(switch, "0"):
                saw("allowed")
                noticed(run)
        except OSError as error:
            saw(f"refused: {error.strerror}")
        made.append(fork(FORKS))


@pytest.mark.thorough
@pytest.mark.fault(
    "kprobes switched off while tracing",
    "the daemon says so within two minutes, and in a metric",
)
def test_kprobes_switched_off_are_noticed(
    run: Daemon, saw: Callable[[str], None]
) -> None:
    with written(Path("/sys/kernel/debug/kprobes/enabled"), "0"):
        noticed(run)
    wait_until(lambda: run.value("forktrace_probes_running") == 1)
    with run.counting_exactly() as made:
        made.append(fork(FORKS))
    saw("said once, forktrace_probes_running 0; 1 again when switched on")


def noticed(run: Daemon) -> None:
    wait_until(lambda: run.value("forktrace_probes_running") == 0)
    wait_until(lambda: run.warnings("does not run our probes"))
