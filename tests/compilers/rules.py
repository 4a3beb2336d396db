"""The rules that decisions are written for: those of kernels, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from forktrace.bits import (
    HUGETLB,
    MAYBE_GUARD,
    MIXEDMAP,
    PFNMAP,
    UFFD_RWP,
    UFFD_WP,
)


class Rule(NamedTuple):
    """The bits of each VMA's flags any of which forces a copy, as does an anon_vma."""

    dst: int
    src: int

    @property
    def any(self) -> int:
        return self.dst | self.src


def mask(*bits: int) -> int:
    """Return a mask of these bits."""
    return sum(1 << bit for bit in bits)


def bits_of(value: int) -> list[int]:
    """Return the numbers of the bits that are set."""
    return [bit for bit in range(64) if value >> bit & 1]


_PFN = mask(PFNMAP, MIXEDMAP)
_GUARD = _PFN | mask(MAYBE_GUARD, UFFD_WP)

KERNELS = {
    "5.10": Rule(0, _PFN | mask(HUGETLB)),
    "5.19": Rule(mask(UFFD_WP), _PFN | mask(HUGETLB)),
    "6.0": Rule(mask(UFFD_WP), _PFN),
    "6.19src": Rule(0, _GUARD),
    "6.19": Rule(_GUARD, 0),
    "7.3": Rule(_GUARD | mask(UFFD_RWP), 0),
}


def randomly(count: int) -> Iterator[tuple[str, Rule]]:
    """Yield rules that no kernel has, the same ones each time.

    All ask for two bits that every kernel asks for: the decoder insists on them.
    """
    source = random.Random(7)
    for number in range(count):
        dst = src = 0
        for bit in {PFNMAP, MIXEDMAP, *source.sample(range(64), number % 7)}:
            if source.random() < 0.5:
                dst |= 1 << bit
            else:
                src |= 1 << bit
        yield f"random{number}", Rule(dst, src)
