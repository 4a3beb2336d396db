"""What a fork's time is made of, who called it, why it failed; and forks by vfork."""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from forktrace.kinds import libc
from forktrace.model import Fork
from tests.live.guest.forks import Forks, fork_once
from tests.live.guest.programs import (
    PATIENCE,
    Workload,
    cgroup_with_pids_max,
    meanwhile,
)

PROT_NONE = 0
MIB = 1 << 20
POPULATED = 64 * MIB
VMAS = 2000
HELD_SECONDS = 0.3


@pytest.fixture
def forks() -> Iterator[Forks]:
    started = Forks()
    with started.session:
        yield started


def own_comm() -> str:
    return Path(f"/proc/{os.getpid()}/comm").read_text().rstrip("\n")


def test_the_parts_of_each_fork_add_up_to_its_duration(forks: Forks) -> None:
    for _ in range(20):
        fork_once()
    found = forks.ours()
    assert len(found) == 20
    for fork in found:
        assert fork.parts, "the kernel shows no parts"
        assert sum(astuple(fork.parts)) == fork.duration_ns
        assert fork.parts.copy == fork.copy_ns > 0
        assert min(astuple(fork.parts)) >= 0
        assert 0 not in (fork.parts.setup, fork.parts.vmas, fork.parts.finish)
    totals = forks.totals()
    assert totals.lost["fork_parts"] == 0
    whole = sum(part.sum_ns for part in totals.parts.values())
    assert whole == totals.fork_duration.sum_ns
    assert totals.parts["copy"].counts == totals.copy_duration.counts


def test_many_vmas_without_pages_show_as_their_duplication(forks: Forks) -> None:
    """Nothing of them is copied, and still the fork spends time on them."""
    length = VMAS * mmap.PAGESIZE
    start = libc.mmap(0, length, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    few = fork_often(forks)
    for place in range(1, VMAS, 2):
        libc.mprotect(start + place * mmap.PAGESIZE, mmap.PAGESIZE, PROT_NONE)
    many = fork_often(forks)
    libc.munmap(start, length)
    assert many[0].vmas.skip - few[0].vmas.skip >= VMAS - 1
    assert least_of_vmas(many) > least_of_vmas(few)


def fork_often(forks: Forks) -> list[Fork]:
    before = len(forks.ours())
    for _ in range(20):
        fork_once()
    return forks.ours()[before:]


def least_of_vmas(some: list[Fork]) -> int:
    """Return the least time that duplicating VMAs took: what else runs only adds."""
    return min(fork.parts.vmas for fork in some if fork.parts)


def hold_the_lock() -> None:
    """Hold this process' mmap_lock for a while."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    access = mmap.PROT_READ | mmap.PROT_WRITE
    libc.munmap(libc.mmap(0, POPULATED, access, flags), POPULATED)


def test_a_wait_for_the_lock_shows_as_that(forks: Forks) -> None:
    """A fork that comes while the lock is held spends most of its time waiting."""
    ends = time.monotonic() + PATIENCE
    waited: list[Fork] = []
    with meanwhile(hold_the_lock):
        while not waited and time.monotonic() < ends:
            fork_once()
            waited = [
                fork
                for fork in forks.ours()
                if fork.parts and fork.parts.mmap_lock == max(astuple(fork.parts))
            ]
    assert waited


def test_time_without_a_cpu_is_told_from_time_on_it(forks: Forks) -> None:
    """As the kernel's own count of it says; another process wants the same CPU."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    busy = os.fork()
    if not busy:
        while os.getppid() != 1:
            pass
        os._exit(0)
    try:
        before, ends = run_delay_ns(), time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            fork_once()
            if any(fork.run_delay_ns for fork in forks.ours()[1:]):
                break
        waited = run_delay_ns() - before
    finally:
        os.kill(busy, signal.SIGKILL)
        os.waitpid(busy, 0)
        os.sched_setaffinity(0, cpus)
    found = forks.ours()[1:]  # the first made the other process
    told = sum(fork.run_delay_ns for fork in found)
    assert 0 < told <= waited
    assert all(fork.run_delay_ns <= fork.duration_ns for fork in found)
    assert forks.totals().run_delay_ns >= told


def run_delay_ns() -> int:
    return int(Path("/proc/self/schedstat").read_text().split()[1])


def test_a_thread_forks_under_the_name_of_its_process(forks: Forks) -> None:
    comm, before = own_comm(), forks.cost_of(own_comm()).forks

    def work() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("worker-0")
        fork_once()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (fork,) = forks.ours()
    assert (fork.comm, fork.thread) == (comm, "worker-0")
    assert fork.tid != fork.pid
    assert forks.cost_of(comm).forks == before + 1
    assert forks.cost_of("worker-0").forks == 0


def test_forks_that_a_cgroup_refuses_have_errno_and_owner(
    forks: Forks, tmp_path: Path
) -> None:
    """By pids.max, which fork asks late: all has been copied by then."""
    with cgroup_with_pids_max(tmp_path) as folder:
        before = forks.totals().failures.get("EAGAIN", 0)
        pid = os.fork()
        if not pid:
            refused_forks(folder, 3)
        assert os.waitpid(pid, 0)[1] == 0
    found = forks.of(pid)
    assert [(fork.outcome, fork.errno) for fork in found] == [("failed", "EAGAIN")] * 3
    for fork in found:
        assert fork.copy_ns > 0
        assert fork.parts
        assert sum(astuple(fork.parts)) == fork.duration_ns
    totals = forks.totals()
    assert totals.failures["EAGAIN"] == before + 3
    assert sum(totals.failures.values()) == totals.forks["failed"]
    assert forks.cost_of("refused").failed == 3


def refused_forks(folder: Path, count: int) -> None:
    """In a child: join a cgroup that holds no more than it, try to fork, and exit."""
    refused = 0
    try:
        Path("/proc/self/comm").write_text("refused")
        (folder / "cgroup.procs").write_text("0")
        (folder / "pids.max").write_text("1")
        for _ in range(count):
            try:
                if not os.fork():
                    os._exit(0)
            except BlockingIOError:
                refused += 1
    finally:
        os._exit(refused != count)


def test_vfork_is_counted_with_the_time_that_its_caller_waited(forks: Forks) -> None:
    before = forks.totals().vforks
    began = time.monotonic_ns()
    sleeping = Workload("sleeping_vforks", "--processes", "3")
    started = time.monotonic_ns()
    waiting = forks.totals().vforks
    time.sleep(HELD_SECONDS)
    asked = time.monotonic_ns()
    sleeping.close()
    ended = time.monotonic_ns()
    after = forks.totals().vforks
    assert waiting.calls - before.calls >= 3
    held = after.held_ns - waiting.held_ns
    assert 3 * (asked - started) <= held <= 3 * (ended - began) + (ended - began)
    assert sum(each.vforks.calls for each in forks.totals().processes) == after.calls
