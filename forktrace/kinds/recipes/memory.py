"""Memory of no bit, where only the anon_vma can make fork copy, and huge pages."""

from __future__ import annotations

import mmap

from forktrace.kinds import libc
from forktrace.kinds.ground import PAGE, PRIVATE, READ_WRITE, SHARED, Ground
from forktrace.kinds.recipes.recipe import Made, makes, mapped_file, whole, written


@makes("untouched", "private anonymous memory that nobody touched")
def _untouched(ground: Ground) -> Made:
    return whole(ground, ground.map(PRIVATE), anon_vma=False)


@makes("anon", "written private anonymous memory")
def _anon(ground: Ground) -> Made:
    return whole(ground, written(ground, PRIVATE), anon_vma=True)


@makes("shmem", "written shared memory")
def _shmem(ground: Ground) -> Made:
    return whole(ground, written(ground, SHARED), anon_vma=False)


@makes("file_private", "a private mapping of a file, only read")
def _file_private(ground: Ground) -> Made:
    return mapped_file(ground, READ_WRITE, write=False)


@makes("file_written", "a private mapping of a file, written")
def _file_written(ground: Ground) -> Made:
    return mapped_file(ground, READ_WRITE, write=True)


@makes("file_text", "a program's text")
def _file_text(ground: Ground) -> Made:
    return mapped_file(ground, mmap.PROT_READ | mmap.PROT_EXEC, write=False)


# Huge pages: VM_HUGETLB stood in the rule up to 5.19.

_HUGE = "huge pages (CONFIG_HUGETLBFS, root, free memory)"


@makes("hugetlb_shared", "a written shared huge page", "hugetlb", needs=_HUGE)
def _hugetlb_shared(ground: Ground) -> Made:
    return _huge(ground, SHARED, anon_vma=False)


@makes("hugetlb_private", "a written private huge page", "hugetlb", needs=_HUGE)
def _hugetlb_private(ground: Ground) -> Made:
    return _huge(ground, PRIVATE, anon_vma=True)


def _huge(ground: Ground, flags: int, *, anon_vma: bool) -> Made:
    size = ground.huge_page()
    start = ground.map(flags | libc.MAP_HUGETLB, length=size)
    ground.touch(start, length=PAGE)
    return Made(start, start + size, anon_vma)
