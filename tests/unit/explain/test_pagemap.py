"""What pagemap shows of this very process, asked in both ways."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace import procfs
from forktrace.explain import pagemap
from forktrace.explain.pagetables import LEAF, PAGE
from forktrace.kinds import EveryKind, libc
from forktrace.procfs import SmapsVma
from tests.unit.explain.samples import vma

BOTH = pytest.mark.parametrize("scan", [True, False], ids=["scan", "words"])
LENGTH = 16 << 20


@contextmanager
def made(kind: str, stride: int = LEAF) -> Iterator[SmapsVma]:
    with EveryKind([kind], length=LENGTH, stride=stride) as every:
        if every.skipped:
            pytest.skip(every.skipped[0].reason)
        yield at(every.mappings[0].start)


def at(address: int) -> SmapsVma:
    return next(v for v in procfs.read_smaps() if v.start <= address < v.end)


@BOTH
@pytest.mark.parametrize("kind", ["anon", "shmem"])
def test_each_touched_page_shows_its_table(kind: str, scan: bool) -> None:
    with made(kind, stride=2 * LEAF) as mapping:
        seen = pagemap.look("self", [mapping], scan=scan)
    first = mapping.start // LEAF
    assert seen.tables.leaves == tuple(range(first, first + LENGTH // LEAF, 2))
    assert seen.guessed == 0


@BOTH
def test_untouched_memory_shows_none(scan: bool) -> None:
    with made("untouched") as mapping:
        # What is read only has the zero page, which smaps counts nowhere.
        assert not pagemap.look("self", [mapping], scan=scan).tables.leaves
        libc.peek(mapping.start)
        assert len(pagemap.look("self", [mapping], scan=scan).tables.leaves) == 1


def test_guard_pages_are_found_where_they_are() -> None:
    with made("maybe_guard_anon") as mapping:
        seen = pagemap.look("self", [mapping])
        if seen.guards is None:
            pytest.skip("this kernel does not tell guards (Linux 6.15)")
        assert seen.guards == ((mapping.end - PAGE, mapping.end),)
        libc.madvise(mapping.end - PAGE, PAGE, libc.MADV_GUARD_REMOVE)
        assert pagemap.look("self", [mapping]).guards == ()


def test_each_region_is_told_once_however_many_there_are() -> None:
    with made("shmem", stride=2 * PAGE) as mapping:
        place = (mapping.start, mapping.end)
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            try:
                found = list(pagemap._regions(file.fileno(), place, pagemap._FILE))
            except OSError:
                pytest.skip("this kernel has no PAGEMAP_SCAN (Linux 6.7)")
    touched = range(mapping.start, mapping.end, 2 * PAGE)
    assert [start for start, _, _ in found] == list(touched)


def huge(flags: int) -> bool:
    name = "enabled" if flags & mmap.MAP_PRIVATE else "shmem_enabled"
    path = Path("/sys/kernel/mm/transparent_hugepage") / name
    allowed = ("[always]", "[madvise]", "[advise]", "[within_size]")
    return path.exists() and any(word in path.read_text() for word in allowed)


@BOTH
@pytest.mark.parametrize(
    ("flags", "leaves"), [(mmap.MAP_PRIVATE, 1), (mmap.MAP_SHARED, 0)]
)
def test_only_anonymous_huge_pages_cost_a_table(
    flags: int, leaves: int, scan: bool
) -> None:
    if not huge(flags):
        pytest.skip("huge pages are switched off")
    with mmap.mmap(-1, 4 * LEAF, flags=flags | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, 4 * LEAF, PAGE):
            memory[offset] = 1
        inside = [v for v in procfs.read_smaps() if v.sizes.get("AnonHugePages")]
        inside += [v for v in procfs.read_smaps() if v.sizes.get("ShmemPmdMapped")]
        if not inside:
            pytest.skip("no huge page was free")
        mapping = inside[0]
        seen = pagemap.look("self", [mapping], scan=scan)
        whole = sum(
            mapping.sizes.get(name, 0) for name in ("AnonHugePages", "ShmemPmdMapped")
        )
    small = -(-(mapping.rss - whole) // LEAF)
    assert len(seen.tables.leaves) <= leaves * whole // LEAF + 2 * (small + 1)
    assert len(seen.tables.leaves) >= leaves * whole // LEAF


def test_both_ways_agree_on_the_whole_process() -> None:
    vmas = [v for v in procfs.read_smaps() if v.name != "[vsyscall]"]
    scanned = pagemap.look("self", vmas)
    words = pagemap.look("self", vmas, scan=False)
    # Looking itself may touch a page or two.
    assert len(set(scanned.tables.leaves) ^ set(words.tables.leaves)) <= 2


def test_without_pagemap_the_sizes_must_do() -> None:
    mapping = vma(leaves=8, anonymous=3 * LEAF)
    seen = pagemap.look(0, [mapping])
    assert len(seen.tables.leaves) == 3
    assert seen.guessed == mapping.size
    (apart,) = seen.others
    assert len(apart.leaves) == 8


def test_reserved_terabytes_are_not_read_word_by_word() -> None:
    mapping = vma(leaves=1 << 20, anonymous=3 * LEAF)
    seen = pagemap.look("self", [mapping], scan=False)
    assert len(seen.tables.leaves) == 3
    assert seen.guessed == mapping.size
