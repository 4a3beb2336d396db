"""VMAs that never reach copy_page_range()."""

from __future__ import annotations

import mmap
import struct
from ctypes import create_string_buffer

from forktrace.kernel.abi import syscall
from forktrace.kinds import libc
from forktrace.kinds.ground import PAGE, PRIVATE, Ground
from forktrace.kinds.recipes.recipe import Made, makes, whole, written


@makes("dontfork", "written private memory with MADV_DONTFORK", "dontcopy")
def _dontfork(ground: Ground) -> Made:
    return _advised(ground, mmap.MADV_DONTFORK)


@makes("wipeonfork", "written private memory with MADV_WIPEONFORK", "wipeonfork")
def _wipeonfork(ground: Ground) -> Made:
    return _advised(ground, 18)  # MADV_WIPEONFORK


@makes(
    "perf",
    "the buffer of a perf event",
    "dontcopy",
    needs="perf events (CONFIG_PERF_EVENTS, CAP_PERFMON)",
)
def _perf(ground: Ground) -> Made:
    software, dummy, size = 1, 9, 64  # PERF_TYPE_, PERF_COUNT_SW_, PERF_ATTR_SIZE_VER0
    attributes = create_string_buffer(struct.pack("=IIQ", software, size, dummy), size)
    # Of CPU 0, not of this task: that would make perf patch the scheduler's code.
    fd = ground.keep(syscall("perf_event_open", attributes, -1, 0, -1, 0))
    start = ground.map(mmap.MAP_SHARED, fd=fd, length=2 * PAGE)
    return Made(start, start + 2 * PAGE, anon_vma=False)


def _advised(ground: Ground, advice: int) -> Made:
    start = written(ground, PRIVATE)
    libc.madvise(start, ground.length, advice)
    return whole(ground, start, anon_vma=True)
