"""What copy-on-write costs after a fork, until the child ends."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

import pytest

from forktrace.cow import Cow
from forktrace.kinds import libc, living_child
from forktrace.recording.names import with_names
from forktrace.tracer.cow import CowTracer
from tests.live.guest.programs import wait_until

PAGES = 2000
PARENTS, CHILDS = 1000, 300
# What the interpreter itself writes meanwhile.
SLACK = 600
HUGE = 2 << 20


@pytest.fixture
def cows() -> Iterator[tuple[list[Cow], CowTracer]]:
    found: list[Cow] = []
    tracer = CowTracer(found.append)
    yield found, tracer
    tracer.close()


def memory(pages: int, advice: int = mmap.MADV_NOHUGEPAGE) -> int:
    length = pages * mmap.PAGESIZE + HUGE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = libc.mmap(0, length, mmap.PROT_READ | mmap.PROT_WRITE, flags)
    start = -(-start // HUGE) * HUGE
    libc.madvise(start, pages * mmap.PAGESIZE, advice)
    # Without reading it first, which maps the zero page of 2 MiB.
    ctypes.memset(start, 1, pages * mmap.PAGESIZE)
    return start


def write(start: int, pages: int) -> None:
    for page in range(pages):
        libc.poke(start + page * mmap.PAGESIZE)


def fork_and_write(start: int, parents: int, childs: int) -> int:
    """Fork; let both write so many pages while the child lives; return its pid."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(tell)
        os.read(told, 1)
        write(start, childs)
        os._exit(0)
    write(start + (PAGES - parents) * mmap.PAGESIZE, parents)
    os.write(tell, b"x")
    os.waitpid(child, 0)
    os.close(told)
    os.close(tell)
    return child


def of(child: int, found: list[Cow], tracer: CowTracer) -> Cow:
    def told() -> bool:
        tracer.poll()
        return any(cow.pid == child for cow in found)

    wait_until(told)
    (cow,) = [cow for cow in found if cow.pid == child]
    return cow


def test_each_side_counts_the_pages_that_it_wrote(
    cows: tuple[list[Cow], CowTracer],
) -> None:
    found, tracer = cows
    start = memory(PAGES)
    child = fork_and_write(start, PARENTS, CHILDS)
    cow = of(child, found, tracer)
    assert cow.parent == os.getpid()
    assert not cow.execs
    assert cow.parents
    assert PARENTS <= cow.parents.faults <= PARENTS + SLACK
    assert CHILDS <= cow.child.faults <= CHILDS + SLACK
    assert cow.parents.copy_ns > 0
    assert cow.child.copy_ns > 0
    assert cow.teardown_ns > 0
    # Nobody else writes to this mapping.
    (ours,) = [each for each in with_names(cow).mappings if each.start == start]
    assert ours.name == ""
    # Where it has to take the place of another mapping, the first few count as others'.
    parents, childs = PARENTS * mmap.PAGESIZE, CHILDS * mmap.PAGESIZE
    assert 0.9 * parents <= ours.parents_bytes <= parents
    assert 0.9 * childs <= ours.child_bytes <= childs
    assert 0 < ours.parents_ns <= cow.parents.copy_ns
    assert sum(tracer.totals().lost.values()) == 0


def test_what_no_mapping_has_is_told_as_others(
    cows: tuple[list[Cow], CowTracer],
) -> None:
    found, tracer = cows
    # No two alike, so that they stay apart.
    many = [memory(20) for _ in range(100)]
    for start in many[::2]:
        libc.madvise(start, 20 * mmap.PAGESIZE, mmap.MADV_DONTDUMP)
    with living_child() as child:
        for start in many:
            write(start, 20)
    cow = of(child, found, tracer)
    assert cow.parents
    assert cow.parents.faults >= 2000
    assert len(cow.mappings) <= 64
    assert cow.others
    assert cow.others.parents_bytes > 0
    named = sum(each.parents_bytes for each in cow.mappings)
    assert named + cow.others.parents_bytes == cow.parents.copied_bytes


def test_huge_pages_are_split_and_then_copied_page_by_page(
    cows: tuple[list[Cow], CowTracer],
) -> None:
    found, tracer = cows
    huge = memory(PAGES, mmap.MADV_HUGEPAGE)
    # One page of each huge page is written.
    with living_child() as child:
        for start in range(huge, huge + PAGES * mmap.PAGESIZE - HUGE, HUGE):
            libc.poke(start)
    cow = of(child, found, tracer)
    assert cow.parents
    assert cow.parents.splits >= PAGES * mmap.PAGESIZE // HUGE - 1
    assert cow.parents.split_ns > 0


def test_a_child_that_calls_exec_ends_there(
    cows: tuple[list[Cow], CowTracer],
) -> None:
    found, tracer = cows
    child = os.fork()
    if not child:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)
    assert of(child, found, tracer).execs


def test_a_child_whose_parent_ended_first_knows_only_its_own(
    cows: tuple[list[Cow], CowTracer],
) -> None:
    found, tracer = cows
    told, tell = os.pipe()
    parent = os.fork()
    if not parent:
        child = os.fork()
        if not child:
            os.close(tell)
            os.read(told, 1)  # until nobody can write any more
            os._exit(0)
        os._exit(0)
    os.waitpid(parent, 0)
    of(parent, found, tracer)
    os.close(tell)
    os.close(told)

    def orphans() -> list[Cow]:
        tracer.poll()
        return [cow for cow in found if cow.parent == parent]

    wait_until(lambda: bool(orphans()))
    assert orphans()[0].parents is None
