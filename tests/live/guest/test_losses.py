"""No fork is lost without a word: begun, ended, in progress and lost always add up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.guest.programs import (
    FORKTRACE,
    Forktrace,
    Samples,
    Workload,
    growth,
    scrape,
    wait_until,
)
from tests.live.guest.small_tables import CHILDREN, SLOTS
from tests.live.guest.storms import STORM_FORKS, STORM_PROCESSES, fork_storm

pytestmark = pytest.mark.thorough

PORT = 19441
SMALL_TABLES = [sys.executable, "-m", "tests.live.guest.small_tables"]
DECISIONS = ("copy", "skip", "dontcopy", "wipeonfork")


class Daemon:
    """``forktrace run``, asked for what it counted since the last ``begin``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = SMALL_TABLES if "small" in arguments else FORKTRACE
        chosen = [each for each in arguments if each != "small"]
        listen = ("--listen", f"127.0.0.1:{PORT}")
        self.run = Forktrace(folder, "run", *listen, *chosen, command=command)
        self.begin()

    def begin(self) -> None:
        self._before = self._now = scrape(PORT)

    def look(self) -> Samples:
        """Scrape once more; ``grown`` is about this scrape."""
        self._now = scrape(PORT)
        return self._now

    def grown(self, name: str, **labels: str) -> float:
        return growth(self._before, self._now, f"forktrace_{name}", **labels)

    def lost(self, *stages: str) -> float:
        return sum(self.grown("lost_total", stage=stage) for stage in stages)

    @property
    def ok(self) -> float:
        return self.grown("forks_total", outcome="ok")

    def add_up(self) -> bool:
        """Tell whether every fork that began is somewhere."""
        failed = self.grown("forks_total", outcome="failed")
        ended = self.ok + failed + self.lost("fork_outcome") - self.lost("fork_entry")
        progress = self._now["forktrace_forks_in_progress", frozenset()]
        return self.grown("forks_started_total") == ended + progress

    @property
    def vmas(self) -> float:
        """How many VMAs were told of, as decided or as lost."""
        decided = (self.grown("vmas_total", decision=each) for each in DECISIONS)
        return sum(decided) + self.lost("copy")


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    started = Daemon(tmp_path, *request.param)
    try:
        yield started
        assert started.run.stop() == 0
    finally:
        started.run.kill()


BOTH = pytest.mark.parametrize(
    "daemon",
    [("--attach", "fentry"), ("--attach", "kprobe")],
    ids=["fentry", "kprobe"],
    indirect=True,
)
SMALL = pytest.mark.parametrize("daemon", [("small",)], ids=["small"], indirect=True)


@BOTH
@pytest.mark.fault(
    "vforks whose children sleep, more than a kretprobe has places",
    "no fork is hidden, each has its time",
)
def test_sleeping_vforks_hide_no_fork(daemon: Daemon) -> None:
    """Each would hold a place of a kretprobe on kernel_clone for as long as it sleeps.

    One more than there are places on two CPUs: max(10, 2 x CPUs).
    """
    sleeping = Workload("sleeping_vforks", "--processes", "12")
    try:
        daemon.begin()
        with fork_storm(30, processes=1) as storm:
            made = storm.ask("go")
        daemon.look()
    finally:
        sleeping.close()
    # The storm's one process was forked as well, with as many VMAs as its parent.
    assert daemon.ok >= made["forks"] + 1 == 31
    assert daemon.grown("fork_duration_seconds_count") == daemon.ok
    assert daemon.grown("copy_duration_seconds_count") == daemon.ok
    assert daemon.vmas >= made["vmas"]
    assert daemon.lost("fork_return", "fork_outcome", "fork_entry", "fork_child") == 0
    assert daemon.add_up()


@BOTH
@pytest.mark.fault(
    "forks that are held for over a minute, and others meanwhile",
    "each is counted once, none as failed",
)
def test_forks_that_are_held_for_long_lose_their_place_to_nobody(
    daemon: Daemon,
) -> None:
    """Some place in the table of forks was once taken away after a minute."""
    held = Workload("held_forks", "--forks", "200")
    with ExitStack() as cleanup:
        cleanup.callback(held.close)
        assert held.ask("hold")["held"] == 200
        began = time.monotonic()
        assert daemon.look()["forktrace_forks_in_progress", frozenset()] == 200
        assert daemon.add_up()
        if "(kprobe," in daemon.run.errors():
            # The age at which a fork was once taken to be over.
            wait_until(lambda: time.monotonic() - began > 61)
        with fork_storm(100, processes=1) as storm:
            others = storm.ask("go")["forks"]
        # As many ends of other forks cannot be mistaken for theirs.
        assert daemon.look()["forktrace_forks_in_progress", frozenset()] == 200
        assert held.ask("release")["forks"] == 200
        daemon.look()
    # Each held fork was made by a process that was forked, too; so was the storm's.
    assert daemon.ok >= 2 * 200 + others + 1
    assert daemon.grown("forks_total", outcome="failed") == 0
    assert daemon.grown("fork_duration_seconds_count") == daemon.ok
    assert daemon.lost("fork_slot", "fork_entry", "fork_return", "fork_outcome") == 0
    assert daemon.add_up()


@SMALL
@pytest.mark.fault(
    "more forks at once than there are places",
    "each without a place is counted as lost, once",
)
def test_a_fork_without_a_place_counts_once(daemon: Daemon) -> None:
    held = Workload("held_forks", "--forks", str(2 * SLOTS))
    try:
        held.ask("hold")
        daemon.look()
        without = daemon.lost("fork_slot")
        assert without >= SLOTS
        assert held.ask("release")["forks"] == 2 * SLOTS
        daemon.look()
    finally:
        held.close()
    assert daemon.ok >= 4 * SLOTS
    assert daemon.lost("fork_slot") == without
    assert daemon.lost("fork_entry", "fork_return", "fork_outcome") == 0


@SMALL
def test_children_that_find_no_place_are_counted(daemon: Daemon) -> None:
    """What they may throw away by exec will not be told."""
    with fork_storm(1, processes=2 * CHILDREN) as storm:
        daemon.look()
        assert daemon.lost("exec_child") >= CHILDREN
        storm.ask("go")
    # Their places are free again.
    daemon.begin()
    with fork_storm(20, processes=1) as storm:
        storm.ask("go")
        daemon.look()
    assert daemon.lost("exec_child") == 0


@BOTH
@pytest.mark.fault(
    "a storm of forks from 8 processes",
    "forks exact; every VMA and time counted or in lost",
)
def test_every_vma_of_a_storm_is_decided_or_lost(
    daemon: Daemon, saw: Callable[[str], None]
) -> None:
    with fork_storm(STORM_FORKS) as storm:
        daemon.begin()
        made = storm.ask("go", patience=120 + STORM_FORKS)
        daemon.look()
    names = ("copy", "copy_entry", "copy_return", "copy_time")
    missed = {name: daemon.lost(name) for name in names}
    saw(f"{made['forks']} forks, {made['vmas']} VMAs; missed: {missed}")
    assert daemon.ok == made["forks"] >= STORM_PROCESSES * STORM_FORKS
    assert daemon.grown("fork_duration_seconds_count") == made["forks"]
    assert daemon.add_up()
    assert daemon.grown("vmas_total", decision="wipeonfork") == 0
    assert daemon.vmas == made["vmas"]
    untimed = missed["copy_time"]
    assert untimed <= missed["copy_entry"] + missed["copy_return"]
    copied = daemon.grown("vmas_total", decision="copy")
    assert 0 <= untimed < copied


@pytest.mark.parametrize("daemon", [()], ids=["auto"], indirect=True)
@pytest.mark.fault(
    "a kernel that does not run all fentry programs",
    "kprobes take over, and miss nothing",
)
def test_where_fentry_misses_calls_kprobes_take_over(daemon: Daemon) -> None:
    """On a kernel that preempts; what fentry misses, it misses in the first moments."""
    with fork_storm(STORM_FORKS) as storm:
        storm.ask("go", patience=120 + STORM_FORKS)
    daemon.look()
    if not daemon.lost("copy", "copy_time"):
        pytest.skip("fentry missed nothing")
    wait_until(lambda: "tracing goes on with kprobes" in daemon.run.errors())
    (attached,) = (
        dict(labels)["attach"]
        for name, labels in daemon.look()
        if name == "forktrace_kernel_info"
    )
    assert attached == "kprobe"
    with fork_storm(STORM_FORKS) as storm:
        daemon.begin()
        made = storm.ask("go", patience=120 + STORM_FORKS)
        daemon.look()
    assert daemon.ok == made["forks"]
    assert daemon.vmas == made["vmas"]
    assert daemon.lost("copy", "copy_time", "fork_return", "fork_outcome") == 0
