"""Of all that the host tells, a process and its descendants are let through."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from forktrace import family
from forktrace.comms import Comms
from forktrace.family import Family
from forktrace.model import Fork
from forktrace.tracer.sieve import Sieve
from forktrace.vforks import Vfork
from tests.unit.recording.samples import MS, VFORK, fork, vma

ROOT = 100


class Told:
    """A family, and what came through."""

    def __init__(self, **chosen: Any) -> None:
        self.forks: list[Fork] = []
        self.vforks: list[Vfork] = []
        self.family = Family(self.forks.append, self.vforks.append, **chosen)
        self.family.begin(ROOT)

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self.forks]

    def fork(self, pid: int, child_pid: int, comm: str = "sh") -> None:
        self.family.fork(replace(fork(comm=comm), pid=pid, child_pid=child_pid))

    def vfork(self, pid: int, child_pid: int, held_ns: int = 0) -> None:
        self.family.vfork(replace(VFORK, pid=pid, child_pid=child_pid, held_ns=held_ns))


def test_a_child_of_who_is_followed_is_followed() -> None:
    told = Told()
    for pid, child in [(1, 50), (ROOT, 101), (101, 102), (50, 51), (102, 103), (9, 10)]:
        told.fork(pid, child)
    assert told.pids == [ROOT, 101, 102]


def test_a_child_by_vfork_is_followed_however_quick_that_was() -> None:
    told = Told(least_ns=10 * MS)
    told.vfork(ROOT, 101, MS)
    told.vfork(101, 102, 10 * MS)
    told.vfork(1, 2, 10 * MS)
    told.fork(102, 103)
    assert [each.pid for each in told.vforks] == [101]
    assert told.pids == [102]


def test_a_child_may_fork_before_its_parents_fork_is_told() -> None:
    told = Told()
    told.fork(102, 103)
    told.fork(101, 102)
    told.fork(101, 0)
    assert told.pids == []
    told.fork(ROOT, 101)
    assert told.pids == [ROOT, 101, 102, 101]


def test_a_pid_that_a_stranger_has_got_is_no_longer_ours() -> None:
    told = Told()
    told.fork(ROOT, 101)
    told.fork(ROOT, 102)
    told.fork(1, 101)
    told.vfork(1, 102)
    told.fork(101, 5)
    told.fork(102, 6)
    assert told.pids == [ROOT, ROOT]


def test_forktrace_itself_made_the_first_of_them() -> None:
    told = Told()
    told.vfork(7, ROOT)
    told.fork(ROOT, 101)
    assert told.pids == [ROOT]


def test_a_failed_fork_has_no_child() -> None:
    told = Told()
    told.fork(ROOT, 0)
    told.fork(0, 7)
    assert told.pids == [ROOT]


def test_whose_name_does_not_fit_is_followed_all_the_same() -> None:
    told = Told(comms=Comms(["redis*"]))
    told.fork(ROOT, 101, "sh")
    told.fork(101, 102, "redis-server")
    assert told.pids == [101]


def test_strangers_that_wait_are_bounded_by_number_and_by_vmas() -> None:
    told = Told()
    for pid in range(1000, 5000):
        told.fork(pid, 1)
    assert told.family._early_forks == family._MOST_EARLY
    many = tuple(vma(0x1000 * n, "anon_vma", 1) for n in range(1000))
    for pid in range(5000, 5200):
        told.family.fork(replace(fork(details=many), pid=pid))
    assert told.family._early_vmas <= family._MOST_EARLY_VMAS
    kept = [each for forks in told.family._early.values() for each in forks]
    assert sum(len(each.details or ()) for each in kept) == told.family._early_vmas
    assert len(kept) == told.family._early_forks


def test_the_dead_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "_MOST", 100)
    beyond = 1 << 23  # no pid is as large
    told = Told()
    told.fork(ROOT, os.getpid())
    for number in range(1000):
        told.fork(ROOT, beyond + number)
    assert len(told.family._members) < 400
    told.fork(os.getpid(), 7)
    assert told.pids[-1] == os.getpid()


@pytest.mark.parametrize(
    ("comms", "follow", "kernel", "shown"),
    [
        ((), False, ((), 5), ["sh", "redis-server"]),
        (("sh",), False, (("sh",), 5), ["sh", "redis-server"]),
        (("re*", "x"), False, ((), 5), ["redis-server"]),
        (("re*",), True, ((), 1), []),
    ],
    ids=["all", "the kernel chooses", "a glob", "descendants"],
)
def test_what_the_kernel_cannot_choose_is_chosen_here(
    comms: tuple[str, ...],
    follow: bool,
    kernel: tuple[tuple[str, ...], int],
    shown: list[str],
) -> None:
    assert Sieve(comms, 5, follow=False, exact=True).kernel_comms == comms
    sieve = Sieve(comms, 5, follow=follow)
    assert (sieve.kernel_comms, sieve.kernel_vfork_ns) == kernel
    forks: list[Fork] = []
    vforks: list[Vfork] = []
    deliver, deliver_vfork = sieve.before(forks.append, vforks.append)
    for comm in ("sh", "redis-server"):
        deliver(fork(comm=comm))
        deliver_vfork(replace(VFORK, comm=comm))
    assert [each.comm for each in forks] == [each.comm for each in vforks] == shown
    if follow:
        sieve.follow(42)
        deliver(fork(comm="redis-server"))
        assert len(forks) == 2  # one had waited
