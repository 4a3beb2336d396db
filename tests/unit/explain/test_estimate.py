"""Page tables told from sizes: close together, far apart, and on other machines."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from forktrace.explain import machines
from forktrace.explain.estimate import Runs, crowd, spread
from forktrace.explain.machines import ARM_64, COMMON, HASH_64, RADIX_64, X86_32
from forktrace.explain.pagetables import Geometry
from forktrace.procfs import SmapsVma

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def vma(start: int, size: int, name: str = "", **sizes: int) -> SmapsVma:
    return SmapsVma(
        start=start,
        end=start + size,
        perms="rw-p",
        offset=0,
        device="00:00",
        inode=0,
        name=name,
        sizes=sizes,
        other={},
        vm_flags=frozenset(("rd", "wr", "mr", "mw", "me")),
    )


def counts(found: SmapsVma, geometry: Geometry, *, far: bool) -> tuple[int, ...]:
    tables = (spread if far else crowd)([found], geometry)
    return len(tables.leaves), len(tables.middles), len(tables.tops)


@pytest.mark.parametrize(
    ("mapping", "geometry", "close", "apart"),
    [
        (vma(0, 64 * MIB, Rss=64 * MIB), COMMON, (32, 1, 1), (32, 1, 1)),
        (vma(0, 64 * MIB, Rss=4 * KIB), COMMON, (1, 1, 1), (1, 1, 1)),
        (vma(0, 64 * MIB, Rss=40 * KIB), COMMON, (1, 1, 1), (10, 1, 1)),
        (vma(0, 64 * GIB, Rss=8 * MIB), COMMON, (4, 1, 1), (2048, 64, 1)),
        (vma(0, 64 * MIB, Rss=0), COMMON, (0, 0, 0), (0, 0, 0)),
        (vma(0, 64 * MIB, Swap=4 * MIB), COMMON, (2, 1, 1), (32, 1, 1)),
        (
            vma(0, 64 * MIB, Rss=8 * MIB, AnonHugePages=8 * MIB),
            COMMON,
            (4, 1, 1),
            (4, 1, 1),
        ),
        (
            vma(0, 64 * MIB, Rss=8 * MIB, ShmemPmdMapped=8 * MIB),
            COMMON,
            (0, 1, 1),
            (0, 1, 1),
        ),
        (
            vma(0, 64 * MIB, KernelPageSize=2 * MIB, Shared_Hugetlb=64 * MIB),
            COMMON,
            (0, 1, 1),
            (0, 1, 1),
        ),
        (
            vma(0, 8 * GIB, KernelPageSize=GIB, Private_Hugetlb=8 * GIB),
            COMMON,
            (0, 0, 1),
            (0, 0, 1),
        ),
        (vma(0, GIB, Rss=GIB), ARM_64, (2, 1, 1), (2, 1, 1)),
        (vma(0, GIB, Rss=GIB), HASH_64, (64, 1, 1), (64, 1, 1)),
        (vma(0, GIB, Rss=GIB), X86_32, (256, 1, 1), (256, 1, 1)),
    ],
)
def test_how_many_tables_it_takes(
    mapping: SmapsVma,
    geometry: Geometry,
    close: tuple[int, ...],
    apart: tuple[int, ...],
) -> None:
    assert counts(mapping, geometry, far=False) == close
    assert counts(mapping, geometry, far=True) == apart


def test_arm64_with_large_pages_has_tables_of_64_kib() -> None:
    tables = crowd([vma(0, GIB, Rss=GIB)], ARM_64)
    assert ARM_64.leaf // ARM_64.page == 8192
    assert tables.copied([(0, GIB)]) == [3 * 64 * KIB]
    assert crowd([vma(0, GIB, Rss=GIB)], RADIX_64).size == 512 * 256 + 8 * KIB


def test_neighbours_share_a_table() -> None:
    first = vma(0, 3 * MIB, Rss=3 * MIB)
    second = vma(3 * MIB, MIB, Rss=MIB)
    assert list(crowd([first, second], COMMON).leaves) == [0, 1]
    # Memory that may lie anywhere is taken to lie where its neighbour is.
    sparse = vma(0, 3 * MIB, Rss=4 * KIB)
    assert list(crowd([sparse, second], COMMON).leaves) == [1]
    assert list(spread([sparse, second], COMMON).leaves) == [0, 1]


def test_far_apart_is_never_less() -> None:
    for pages in (1, 2, 3, 7, 500, 512, 513, 4096, 100_000):
        for size in (2 * MIB, 6 * MIB, GIB, 3 * GIB, 700 * GIB, 5000 * GIB):
            place = 0x5555_5000_0000 + 12 * KIB
            mapping = vma(place, size, Rss=min(size, pages * 4 * KIB))
            near, far = crowd([mapping], COMMON), spread([mapping], COMMON)
            ranges = [(mapping.start, mapping.end)]
            assert sum(near.copied(ranges)) <= sum(far.copied(ranges))
            assert far.copied(ranges) == [far.size]
            assert list(far.leaves) == sorted(set(far.leaves))


def test_runs_are_a_sorted_sequence() -> None:
    runs, numbers = Runs(), [1, 2, 3, 10, 20, 30, 31]
    for each in (range(1, 4), range(3, 4), range(10, 31, 10), range(30, 32)):
        runs.add(each)
    assert list(runs) == list(runs[:]) == numbers
    for number in range(40):
        assert bisect_left(runs, number) == bisect_left(numbers, number)
    with pytest.raises(IndexError):
        runs[7]


# -- which machine it is of ---------------------------------------------------


@pytest.mark.parametrize(
    ("page", "stack", "name", "expected"),
    [
        (4 * KIB, 0x7FFD_0000_0000, "", [COMMON]),
        (4 * KIB, 0xBEBE_0000, "", [COMMON, X86_32]),
        (4 * KIB, 0xBEBE_0000, "/lib/x86_64-linux-gnu/libc.so.6", [COMMON]),
        (64 * KIB, 0xFFFF_D000_0000, "", [ARM_64]),
        (64 * KIB, 0x7FFF_D000_0000, "", [RADIX_64, HASH_64]),
        (64 * KIB, 0x3FF_D000_0000, "", [ARM_64, RADIX_64, HASH_64]),
    ],
)
def test_the_machine_is_told_by_pages_and_addresses(
    page: int, stack: int, name: str, expected: list[Geometry]
) -> None:
    vmas = [
        vma(0x10000, page, name, KernelPageSize=page),
        vma(0x4000_0000, 4 * MIB, KernelPageSize=2 * MIB, Private_Hugetlb=2 * MIB),
        vma(stack, 4 * page, "[stack]", KernelPageSize=page),
    ]
    assert list(machines.geometries(vmas)) == expected
    assert machines.base_page(vmas) == page


def test_pages_of_16_kib_have_2048_entries() -> None:
    made = machines.geometries([vma(0, MIB, KernelPageSize=16 * KIB)])
    assert {each.leaf // each.page for each in made} == {2048}
    assert {each.tables[0] for each in made} == {16 * KIB}


def test_an_odd_page_size_is_no_reason_to_fail() -> None:
    for page, expected in ((0, None), (3, None), (12 * KIB, None), (8 * KIB, 8 * KIB)):
        vmas = [vma(0, MIB, KernelPageSize=page)]
        assert machines.base_page(vmas) == expected
        assert machines.geometries(vmas)[0].page == (expected or 4 * KIB)
