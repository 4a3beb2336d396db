"""Buffers registered with io_uring: from fdinfo's text, and of real rings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from forktrace.explain.pagetables import LEAF, PAGE
from forktrace.explain.pins import buffers_in, copied_bytes, io_uring_buffers
from forktrace.explain.predict import forecast
from forktrace.kernel.rule import rule_of_release
from tests.live.guest.programs import Workload
from tests.unit.explain.samples import MIB, NAMES, process, vma

# As 5.10 to 7.3 print it, shortened.
FDINFO = """\
pos:\t0
flags:\t02000002
mnt_id:\t14
SqThread:\t-1
UserFiles:\t1
    0: 0x1000/4096
UserBufs:\t3
    0: 0x7f0000001000/8192
    1: <none>
    2: 0x7f0000010010/4096
PollList:
    0: 0x2000/4096
"""


@pytest.fixture
def workload() -> Iterator[Workload]:
    started = Workload("pinned", "--mib", "1")
    try:
        if started.ready["skipped"]:
            pytest.skip(f"no buffer for io_uring: {started.ready['skipped']}")
        yield started
    finally:
        started.close()


def test_only_the_list_of_buffers_counts_in_whole_pages() -> None:
    first, odd = 0x7F0000001000, 0x7F0000010000
    assert buffers_in(FDINFO) == [(first, first + 2 * PAGE), (odd, odd + 2 * PAGE)]


@pytest.mark.parametrize(
    "text", ["", "UserBufs:\t0\nPollList:\n", "UserBufs:\t2\n", "    0: 0x1000/4096\n"]
)
def test_a_ring_that_lists_none(text: str) -> None:
    assert buffers_in(text) == []


def test_only_private_memory_is_copied_itself() -> None:
    private, shared = vma(0, leaves=2), vma(4, leaves=2, shared=True)
    everything = ((0, 1 << 62),)
    assert copied_bytes(private, everything) == 2 * LEAF
    assert copied_bytes(shared, everything) == 0
    part = ((private.start - MIB, private.start + PAGE), (private.end, private.end + 1))
    assert copied_bytes(private, part) == PAGE


def test_what_fork_leaves_out_is_not_copied_either() -> None:
    kept = vma(0, "rd wr mr mw me dc", leaves=2, anonymous=2 * LEAF)
    seen = process(kept, buffers=((kept.start, kept.end),))
    assert forecast(seen, rule_of_release("7.3"), NAMES).pinned_bytes == 0


def test_what_vmpin_has_above_the_buffers_lies_elsewhere() -> None:
    pool = vma(0, leaves=2, anonymous=2 * LEAF)
    for pinned, elsewhere in ((0, 0), (LEAF, 0), (3 * LEAF, 2 * LEAF)):
        seen = process(pool, buffers=((pool.start, pool.start + LEAF),), pinned=pinned)
        told = forecast(seen, rule_of_release("7.3"), NAMES)
        assert (told.pinned_bytes, told.pinned_elsewhere) == (LEAF, elsewhere)


def test_a_real_buffer_is_found_while_it_is_registered(workload: Workload) -> None:
    start, size = workload.ready["start"], workload.ready["size"]
    assert io_uring_buffers(workload.pid, os.getpid()) == ((start, start + size),)
    workload.ask("release")
    assert io_uring_buffers(workload.pid, os.getpid()) == ()


def test_a_ring_held_by_the_parent_as_well_came_from_there(workload: Workload) -> None:
    """By fork, which copied the pages and not the pins: here it is its own parent."""
    assert io_uring_buffers(workload.pid, workload.pid) == ()


def test_a_process_that_is_gone() -> None:
    assert io_uring_buffers(0, 0) == ()
