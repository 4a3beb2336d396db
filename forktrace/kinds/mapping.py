"""What a made VMA is, and what it shows the kernel at fork: plain data.

The names of bits are the kernel's VM_ names in lower case, as in ``procfs.FLAG_NAMES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forktrace.kernel.fork import LeftOut


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
    fixed: LeftOut | None
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
