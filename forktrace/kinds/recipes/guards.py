"""Guard regions.

On 6.13 to 6.18 a guard page gives its VMA an anon_vma, and there is no bit;
"mm: introduce VM_MAYBE_GUARD" (6.19, also in later 6.18.y) made it a bit, for all but
anonymous memory in place of the anon_vma.
"""

from __future__ import annotations

import mmap

from forktrace import procfs
from forktrace.kinds import libc
from forktrace.kinds.ground import PAGE, PRIVATE, SHARED, Ground
from forktrace.kinds.recipes.recipe import Made, makes, mapped_file, whole, written

FILE_GUARDS = "guard regions on shared and file memory (Linux 6.15)"


@makes(
    "maybe_guard", "shared memory with a guard page", "maybe_guard", needs=FILE_GUARDS
)
def _maybe_guard(ground: Ground) -> Made:
    return guarded(ground, written(ground, SHARED))


@makes(
    "maybe_guard_removed",
    "shared memory whose guard page was taken away again",
    "maybe_guard",
    needs=FILE_GUARDS,
)
def _maybe_guard_removed(ground: Ground) -> Made:
    made = guarded(ground, written(ground, SHARED))
    libc.madvise(made.end - PAGE, PAGE, libc.MADV_GUARD_REMOVE)
    return made


@makes(
    "maybe_guard_file",
    "a private mapping of a file with a guard page",
    "maybe_guard",
    needs=FILE_GUARDS,
)
def _maybe_guard_file(ground: Ground) -> Made:
    made = mapped_file(ground, mmap.PROT_READ, write=False)
    return guarded(ground, made.start, made.end)


@makes(
    "maybe_guard_anon",
    "private anonymous memory with a guard page, otherwise untouched",
    "maybe_guard",
    needs="guard regions (Linux 6.13)",
)
def _maybe_guard_anon(ground: Ground) -> Made:
    start = ground.map(PRIVATE)
    libc.madvise(start + ground.length - PAGE, PAGE, libc.MADV_GUARD_INSTALL)
    return whole(ground, start, anon_vma=True)


def guarded(ground: Ground, start: int, end: int | None = None) -> Made:
    """Make the last page of a shared or file mapping a guard page."""
    end = end or start + ground.length
    libc.madvise(end - PAGE, PAGE, libc.MADV_GUARD_INSTALL)
    if "maybe_guard" in _vma_at(start).flag_names:
        return Made(start, end, anon_vma=False)
    return Made(
        start, end, anon_vma=True, note="this kernel marks guards by an anon_vma"
    )


def _vma_at(start: int) -> procfs.SmapsVma:
    return next(vma for vma in procfs.read_smaps() if vma.start == start)
