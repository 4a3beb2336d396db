"""The rule as the kernel's sources have it, release by release, written out by hand.

Kept apart from forktrace.kernel.rule on purpose: what forktrace reads from a kernel's
code is held against this.
"""

from __future__ import annotations

import re
from typing import Literal

Side = Literal["dst", "src"]
PFNMAP, MAYBE_GUARD, UFFD_WP, HUGETLB, MIXEDMAP, UFFD_RWP = 10, 11, 12, 22, 28, 43


def rule_of(release: str) -> dict[int, Side]:
    """Return which bit of which VMA makes this Debian kernel copy."""
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:3])
    if version < (5, 19):
        return {HUGETLB: "src", PFNMAP: "src", MIXEDMAP: "src"}
    if version < (6, 18, 37):
        return {UFFD_WP: "dst", PFNMAP: "src", MIXEDMAP: "src"}
    bits: dict[int, Side] = {
        PFNMAP: "dst",
        MIXEDMAP: "dst",
        UFFD_WP: "dst",
        MAYBE_GUARD: "dst",
    }
    if version >= (7, 3):
        bits[UFFD_RWP] = "dst"
    return bits


NAMES = {
    PFNMAP: "pfnmap",
    MAYBE_GUARD: "maybe_guard",
    UFFD_WP: "uffd_wp",
    HUGETLB: "hugetlb",
    MIXEDMAP: "mixedmap",
    UFFD_RWP: "uffd_rwp",
}


def trigger_of(
    release: str, src: set[str], dst: set[str], anon_vma: bool
) -> str | None:
    """Return what makes the kernel copy a VMA of these flags, None when it skips."""
    sides = {"src": src, "dst": dst}
    bits = [
        NAMES[bit]
        for bit, side in sorted(rule_of(release).items())
        if NAMES[bit] in sides[side]
    ]
    return "+".join(bits) or ("anon_vma" if anon_vma else None)
