"""Nobody reads for a minute: sums stay exact, and what was not told is counted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.guest.faults.watched import Daemon, daemon, fork
from tests.live.guest.programs import Forktrace, Workload, counted_calls, run_forktrace
from tests.live.guest.storms import fork_storm
from tests.live.guest.test_record import lines

PORT = 19450
STOPPED_SECONDS = 60.0


@pytest.mark.timeout(1200)
@pytest.mark.fault(
    "SIGSTOP for a minute and SIGCONT, under load",
    "totals are exact; what record could not write is in its losses",
)
def test_a_minute_of_sleep_loses_no_count(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    path = tmp_path / "forks.gz"
    with daemon(tmp_path, PORT, "--attach", "kprobe") as run:
        record = Forktrace(tmp_path, "record", "-o", str(path), "--attach", "kprobe")
        try:
            with fork_storm(100, processes=4) as storm, run.counting_exactly() as made:
                for each in (run, record):
                    each.process.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                made.append(storm.ask("go")["forks"])
                while time.monotonic() - began < STOPPED_SECONDS:
                    made.append(fork(1))
                    time.sleep(0.5)
                for each in (run, record):
                    each.process.send_signal(signal.SIGCONT)
                made.append(fork(23))
            assert record.stop() == 0
        finally:
            record.process.send_signal(signal.SIGCONT)
            record.kill()
    summary = lines(path)[-1]
    untold = summary["lost"].get("fork_event", 0)
    recorded = summary["forks"]
    assert summary["host_totals"]["forks"] == recorded + untold >= sum(made)
    saw(
        f"{sum(made)} forks counted of {sum(made)}; {recorded} recorded + {untold} lost"
    )


@pytest.mark.timeout(1200)
@pytest.mark.fault(
    "a full ring: nobody reads while 60,000 VMAs are forked, each a line",
    "totals are exact, and every line that is missing is counted",
)
def test_a_process_with_60000_vmas_fills_the_ring(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    path = tmp_path / "forks.gz"
    with daemon(tmp_path, PORT) as run:
        workload = Workload("many_vmas", "--vmas", "60000", "--forks", "5")
        record = Forktrace(tmp_path, "record", "-o", str(path))
        try:
            before = met(run)
            with run.counting_exactly() as made, counted_calls(workload.pid) as calls:
                record.process.send_signal(signal.SIGSTOP)
                made.append(workload.ask("go", patience=900)["forks"])
                record.process.send_signal(signal.SIGCONT)
                called = calls()
            counted = met(run) - before
            assert record.stop() == 0
        finally:
            record.process.send_signal(signal.SIGCONT)
            record.kill()
            workload.close()
    assert counted == called > 60_000 * sum(made)
    every = lines(path)
    forks = [line for line in every if line["type"] == "fork"]
    detailed = sum(len(fork.get("details", ())) for fork in forks)
    lost = every[-1]["lost"].get("vma_event", 0)
    assert len(forks) + every[-1]["lost"].get("fork_event", 0) == sum(made)
    # A fork of which even its own line is missing has VMAs with lines all the same.
    assert detailed + lost <= counted
    if len(forks) == sum(made):
        assert detailed + lost == counted
    assert lost > 0
    assert run_forktrace("report", str(path)).returncode == 0
    saw(f"{counted} VMAs of {called} counted; {detailed} in lines, {lost} lines lost")


def met(run: Daemon) -> int:
    """Return how many VMAs copy_page_range() was called for."""
    decisions = ("copy", "skip")
    return sum(
        int(run.value("forktrace_vmas_total", decision=each)) for each in decisions
    )
