"""What fork does with a VMA, given its flags: the one place that decides.

dup_mmap() in mm/mmap.c decides first: VM_DONTCOPY gives the child no VMA, VM_WIPEONFORK
one without pages, and some bits are never inherited. Then copy_page_range() asks the
rule of this kernel (rule.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import Rule

LeftOut = Literal["dontcopy", "wipeonfork"]

# VM_LOCKED_MASK is cleared in every child.
_NEVER_INHERITED = frozenset({"locked", "lockonfault"})


class Fate(NamedTuple):
    """What becomes of a VMA; ``trigger`` is None unless it is copied."""

    decision: Literal["copy", "skip", "dontcopy", "wipeonfork"]
    trigger: str | None = None

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.decision} by {self.trigger}" if self.trigger else self.decision


def left_out(src: frozenset[str]) -> LeftOut | None:
    """Return what dup_mmap() decides by itself, if anything.

    ``src`` are the names of the flags of the parent's VMA, as in all functions here.
    """
    if "dontcopy" in src:
        return "dontcopy"
    return "wipeonfork" if "wipeonfork" in src else None


def inherited(src: Iterable[str], *, fork_event: bool) -> frozenset[str]:
    """Return the flags of the child's VMA as copy_page_range() finds them.

    dup_userfaultfd() clears every userfaultfd bit of the child unless the parent's
    userfaultfd reports forks (``fork_event``).
    """
    src = frozenset(src)
    if "dontcopy" in src:
        return frozenset()
    dst = src - _NEVER_INHERITED
    if not fork_event:
        dst = frozenset(name for name in dst if not name.startswith("uffd_"))
    return dst


def fate(
    rule: Rule,
    names: FlagNames,
    src: frozenset[str],
    dst: frozenset[str],
    *,
    anon_vma: bool,
) -> Fate:
    """Return what a kernel with this rule does; ``dst`` are the child's flags."""
    early = left_out(src)
    if early:
        return Fate(early)
    bits = rule.trigger_bits(names.flags(src), names.flags(dst))
    if not bits and not anon_vma:
        return Fate("skip")
    return Fate("copy", rule.trigger_name(bits, names))
