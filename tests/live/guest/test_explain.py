"""What explain foretells is what the next fork of that process then does.

Real programs have a guest of their own: tests/live/test_programs.py.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Iterator
from ctypes import CDLL, addressof, c_char, c_ulong, create_string_buffer
from typing import Any

import pytest

from forktrace.kinds import living_child
from tests.investigations.explained import compare, explain
from tests.live.guest.programs import Forktrace, Workload, wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forktrace]:
    folder = tmp_path_factory.mktemp("explain")
    tracing = Forktrace(folder, "trace", "--json", "--vmas")
    try:
        yield tracing
        assert tracing.stop() == 0
    finally:
        tracing.kill()


def assert_foretold(answer: dict[str, Any], fork: dict[str, Any]) -> None:
    """Only VMAs that explain itself calls doubtful may turn out otherwise."""
    compared = compare(answer, fork)
    assert [each for each in compared.surprises if not each.doubted] == []
    assert compared.apart <= 0.1
    assert answer["rule"]["read_from"] == "code"


IO_URING_SETUP, IO_URING_REGISTER, REGISTER_BUFFERS = 425, 427, 0
BUFFER = 4 << 20

KINDS = ("anon", "maybe_guard", "shmem", "hugetlb_private", "io_uring", "dontfork")


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_with_one_large_mapping(trace: Forktrace, kind: str) -> None:
    workload = Workload("large", "--kind", kind, "--mib", "64")
    try:
        if not workload.ready["mappings"]:
            pytest.skip(f"{workload.ready['skipped']}")
        # The first fork gives the process its last page tables.
        workload.ask("go")
        answer = explain(workload.pid)
        seen = len(forks_of(trace, workload.pid))
        workload.ask("go")
        wait_until(lambda: len(forks_of(trace, workload.pid)) > seen)
        fork = forks_of(trace, workload.pid)[seen]
    finally:
        workload.close()
    assert_foretold(answer, fork)


def pages(pid: int, start: int) -> list[int]:
    """Return the numbers of the page frames that a process has in the buffer."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(start // mmap.PAGESIZE * 8)
        entries = array("Q", pagemap.read(BUFFER // mmap.PAGESIZE * 8))
    return [entry & (1 << 55) - 1 for entry in entries]


def test_pinned_memory_is_told_and_fork_copies_its_pages() -> None:
    """The child shares what is not pinned, and has pages of its own for what is."""
    buffer = mmap.mmap(-1, BUFFER, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer.write(b"x" * BUFFER)
    start = addressof(c_char.from_buffer(buffer))
    assert explain(os.getpid())["pinned_bytes"] == 0
    with living_child() as child:
        assert pages(child, start) == pages(os.getpid(), start)
    libc = CDLL(None, use_errno=True)
    ring = libc.syscall(IO_URING_SETUP, 8, create_string_buffer(120))
    if ring < 0:
        pytest.skip("no io_uring here")
    iovec = (c_ulong * 2)(start, BUFFER)
    try:
        assert libc.syscall(IO_URING_REGISTER, ring, REGISTER_BUFFERS, iovec, 1) == 0
        assert explain(os.getpid())["pinned_bytes"] == BUFFER
        with living_child() as child:
            ours, theirs = pages(os.getpid(), start), pages(child, start)
    finally:
        os.close(ring)
    assert 0 not in ours + theirs
    assert not set(ours) & set(theirs)


def forks_of(trace: Forktrace, pid: int) -> list[dict[str, Any]]:
    return [fork for fork in trace.forks() if fork["pid"] == pid]
