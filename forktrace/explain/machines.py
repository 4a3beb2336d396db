"""Which machines a pasted smaps may be of, by its page size and its addresses.

Smaps does not name the machine, but the base page decides how many entries a table has.
The sizes are as pgtables_bytes counts them (arch/*/include/asm/pgtable*.h): arm64 has
one page for each table; POWER with pages of 64 KiB packs several tables into one page,
and its two MMUs, radix and hash, differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from forktrace.explain.pagetables import Geometry
from forktrace.procfs import SmapsVma

_KIB, _MIB, _GIB, _TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

COMMON = Geometry(
    "x86-64 or arm64", 4 * _KIB, (2 * _MIB, _GIB, 512 * _GIB), (4 * _KIB,) * 3
)
X86_32 = Geometry(
    "32-bit x86 without PAE", 4 * _KIB, (4 * _MIB, 4 * _GIB, 4 * _GIB), (4 * _KIB, 0, 0)
)
ARM_16 = Geometry(
    "arm64", 16 * _KIB, (32 * _MIB, 64 * _GIB, 128 * _TIB), (16 * _KIB,) * 3
)
THREE_LEVELS_16 = Geometry(
    "arm64 or LoongArch with three levels",
    16 * _KIB,
    (32 * _MIB, 64 * _GIB, 128 * _TIB),
    (16 * _KIB, 16 * _KIB, 0),
)
ARM_64 = Geometry(
    "arm64",
    64 * _KIB,
    (512 * _MIB, 4 * _TIB, 32768 * _TIB),
    (64 * _KIB, 64 * _KIB, 0),
)
RADIX_64 = Geometry(
    "POWER with radix MMU",
    64 * _KIB,
    (2 * _MIB, _GIB, 512 * _GIB),
    (256, 4 * _KIB, 4 * _KIB),
)
HASH_64 = Geometry(
    "POWER with hash MMU",
    64 * _KIB,
    (16 * _MIB, 16 * _GIB, 16 * _TIB),
    (2 * _KIB, 8 * _KIB, 8 * _KIB),
)

_SMALLEST, _LARGEST = 4 * _KIB, 1 * _MIB


def base_page(vmas: Sequence[SmapsVma]) -> int | None:
    """Return the base page in bytes, None where no VMA tells; hugetlb does not."""
    pages = {
        vma.sizes.get("KernelPageSize", 0)
        for vma in vmas
        if not vma.hugetlb and "ht" not in vma.vm_flags
    }
    known = [page for page in pages if _SMALLEST <= page <= _LARGEST]
    return min((page for page in known if page & (page - 1) == 0), default=None)


def geometries(vmas: Sequence[SmapsVma]) -> tuple[Geometry, ...]:
    """Return the machines that it may be of, the likeliest first."""
    page = base_page(vmas) or COMMON.page
    end = max((vma.end for vma in vmas), default=0)
    if page == COMMON.page:
        # Of arm64, x86_64, lib64: a 64-bit machine by its paths.
        wide = end > 1 << 32 or any("64" in vma.name for vma in vmas)
        return (COMMON,) if wide else (COMMON, X86_32)
    if page == ARM_16.page:
        return (ARM_16, THREE_LEVELS_16)
    if page == ARM_64.page:
        return _with_64(vmas, end)
    entries = page // 8
    spans = (page * entries, page * entries**2, page * entries**3)
    return (Geometry("an unknown machine", page, spans, (page,) * 3),)


def _with_64(vmas: Sequence[SmapsVma], end: int) -> tuple[Geometry, ...]:
    """Tell arm64 from POWER: arm64 has its stack below 2**48 (or 2**42)."""
    stack = max((vma.end for vma in vmas if vma.name == "[stack]"), default=0)
    if end > 1 << 47:
        return (ARM_64,)
    if stack > 1 << 42:
        return (RADIX_64, HASH_64)
    return (ARM_64, RADIX_64, HASH_64)
