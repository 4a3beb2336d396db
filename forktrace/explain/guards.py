"""Guard regions: what they are on which kernel, and how many pages really are one.

madvise(MADV_GUARD_INSTALL) came in 6.13 for anonymous memory (662df3e5c376) and in 6.15
for files and shmem (f807123d578d). Until 6.18.36 it gave the VMA an anon_vma, so that
fork copied it. Since then (5dba5cc2e0ff; 6.19, 6.18.37) it sets VM_MAYBE_GUARD instead,
and on anonymous memory both. Neither mark goes away: not when the guards are removed,
and not when the VMA merges with others, which then all carry it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from forktrace.bits import MAYBE_GUARD
from forktrace.explain.pagetables import PAGE
from forktrace.kernel.flags import version_of
from forktrace.kernel.rule import Rule
from forktrace.procfs import SmapsVma

NAME = "maybe_guard"


@dataclass(frozen=True)
class Guards:
    """What is known of the guards of one VMA.

    ``pages`` are those there now, None where the kernel does not tell. ``once`` tells
    whether the VMA is known to have had any.
    """

    pages: int | None
    once: bool


def count(vmas: Sequence[SmapsVma], ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return how many guard pages each VMA has; both come in address order."""
    ends = [end for _, end in ranges]
    counts = []
    for vma in vmas:
        pages = 0
        for start, end in ranges[bisect_right(ends, vma.start) :]:
            if start >= vma.end:
                break
            pages += (min(end, vma.end) - max(start, vma.start)) // PAGE
        counts.append(pages)
    return counts


def is_anonymous(vma: SmapsVma) -> bool:
    """Tell whether it maps no file, as vma_is_anonymous() does."""
    return vma.inode == 0 and vma.perms[3] == "p" and "pf" not in vma.vm_flags


def as_under(
    rule: Rule, release: str | None, vma: SmapsVma, guards: Guards
) -> tuple[frozenset[str], bool]:
    """Return the flags this VMA has on a kernel, and whether guards gave an anon_vma.

    ``rule`` and ``release`` are that kernel's; ``release`` is None on the running one,
    where guards that are there prove themselves. ``vma`` is as smaps shows it here.
    """
    names = vma.flag_names
    marked = NAME in names or guards.once
    if rule.mask >> MAYBE_GUARD & 1:
        return (names | {NAME} if marked else names), marked and is_anonymous(vma)
    since = (6, 13, 0) if is_anonymous(vma) else (6, 15, 0)
    had_them = release is None or version_of(release) >= since
    return names - {NAME}, marked and had_them
