"""What a made VMA is, and what it shows the kernel at fork: plain data.

The names of bits are the kernel's VM_ names in lower case, as in ``procfs.FLAG_NAMES``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

# mm/mmap.c, dup_mmap(): VM_LOCKED_MASK is cleared in every child.
_NEVER_INHERITED = frozenset({"locked", "lockonfault"})


@dataclass(frozen=True)
class Kind:
    """One kind of VMA.

    ``bits`` are those that make it what it is: its VMA carries at least one of them,
    but for a guard region of a kernel that has no bit for it. ``needs`` says what the
    kernel must have, for the reason of a ``Skipped``.
    """

    name: str
    about: str
    bits: frozenset[str] = frozenset()
    needs: str = ""


@dataclass(frozen=True)
class Skipped:
    """A kind that this kernel, its configuration or our privileges cannot make."""

    kind: Kind
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that the workloads print."""
        return {"kind": self.kind.name, "reason": self.reason}


@dataclass(frozen=True)
class Mapping:
    """One VMA of a known kind, and what vma_needs_copy() will find in it.

    ``src`` names all flags of the parent's VMA, as read back from smaps; ``dst`` those
    that the child's VMA has when the kernel decides. ``anon_vma`` is None where it
    cannot be known. ``fixed`` is the decision taken before copy_page_range() is
    reached, whatever the rule; None where the rule decides.
    """

    kind: Kind
    start: int
    end: int
    src: frozenset[str]
    dst: frozenset[str]
    anon_vma: bool | None
    fixed: Literal["dontcopy", "wipeonfork"] | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the object that the workloads print; addresses are plain numbers."""
        return {
            "kind": self.kind.name,
            "start": self.start,
            "end": self.end,
            "src": sorted(self.src),
            "dst": sorted(self.dst),
            "anon_vma": self.anon_vma,
            "fixed": self.fixed,
            "note": self.note,
        }


def fixed_decision(src: frozenset[str]) -> Literal["dontcopy", "wipeonfork"] | None:
    """Return what dup_mmap() decides by itself, if anything.

    VM_DONTCOPY gives the child no VMA at all; VM_WIPEONFORK one without its pages.
    """
    if "dontcopy" in src:
        return "dontcopy"
    return "wipeonfork" if "wipeonfork" in src else None


def inherited(src: Iterable[str], *, fork_event: bool) -> frozenset[str]:
    """Return the bits of the child's VMA, given its parent's.

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
