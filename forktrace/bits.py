"""The bits of vm_flags that decide what fork does with a VMA: all that sets them apart.

A kernel with a new one takes a new row here, and its rule is read from its code.
"""

from __future__ import annotations

from typing import NamedTuple


class Bit(NamedTuple):
    """One bit of vm_flags.

    ``number``: 0 is the lowest. ``name``: the kernel's VM_ name in lower case.
    ``code``: its two letters in VmFlags of /proc/PID/smaps. ``colour``: of what it
    triggers, in plots, in tables and on the dashboards.
    """

    number: int
    name: str
    code: str
    colour: str = ""


COPYING = (
    Bit(22, "hugetlb", "ht", "#5d9c3f"),
    Bit(10, "pfnmap", "pf", "#1d9a8a"),
    Bit(28, "mixedmap", "mm", "#d4549a"),
    Bit(12, "uffd_wp", "uw", "#9a6fdb"),
    Bit(11, "maybe_guard", "gu", "#dd7127"),
    Bit(43, "uffd_rwp", "ur", "#b48a17"),
)
"""Those that force a copy on some kernel, in the order of the kernel's sources."""

LEAVING_OUT = (Bit(17, "dontcopy", "dc"), Bit(25, "wipeonfork", "wf"))
"""Those that keep a VMA from being copied, whatever the rule (dup_mmap())."""

ALL = (*COPYING, *LEAVING_OUT)

HUGETLB, PFNMAP, MIXEDMAP, UFFD_WP, MAYBE_GUARD, UFFD_RWP = (
    bit.number for bit in COPYING
)

ANON_VMA = "anon_vma"
"""The trigger that is no bit: the parent's VMA has an anon_vma."""

ANON_VMA_COLOUR = "#3f86e0"
