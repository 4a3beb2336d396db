"""When fork copies the page tables of a VMA on this kernel, and where that is read.

Every kernel decides alike (mm/memory.c, copy_page_range and vma_needs_copy): copy if
one of some bits of vm_flags is set, else if the parent's VMA has an anon_vma. Which
bits, and whether the child's VMA (dst) or the parent's (src) is asked, differs:

* up to 5.18: HUGETLB, PFNMAP, MIXEDMAP of src;
* 5.19: UFFD_WP of dst joined (c56d1b62cce8, "mm/shmem: handle uffd-wp during fork()");
* 6.0: HUGETLB left (bcd51a3c679d, "hugetlb: lazy page table copies in fork()");
* 6.19-rc1: one mask, VM_COPY_ON_FORK, with MAYBE_GUARD too, all of src (ab04b530e7e8,
  "mm: introduce copy-on-fork VMAs and make VM_MAYBE_GUARD one");
* 6.19-rc7 and 6.18.37: the mask is asked of dst (35e247032606, "mm: do not copy page
  tables unnecessarily for VM_UFFD_WP"); 6.18.37 took both commits at once;
* 7.3: UFFD_RWP joined the mask.

dst and src differ because dup_userfaultfd() has by then cleared the userfaultfd bits
of dst, unless the parent's userfaultfd negotiated UFFD_FEATURE_EVENT_FORK.

Distributions backport, so the running kernel's own code is asked first, then its BTF,
and the list above only last.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from forktrace.bits import (
    ANON_VMA,
    COPYING,
    HUGETLB,
    MAYBE_GUARD,
    MIXEDMAP,
    PFNMAP,
    UFFD_RWP,
    UFFD_WP,
)
from forktrace.kernel import flags, text
from forktrace.kernel.decision import (
    INSTRUMENTATION,
    REPORTS,
    RETURN_THUNKS,
    Decision,
    Side,
    Undecodable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forktrace.kernel.btf import Btf
    from forktrace.kernel.flags import FlagNames
    from forktrace.kernel.symbols import Symbols

ReadFrom = Literal["code", "btf", "table"]

SYMBOLS = (
    *("copy_page_range", "vma_needs_copy"),
    *RETURN_THUNKS,
    *(f"{name}*" for name in (*INSTRUMENTATION, *REPORTS)),
)
"""What ``read_rule`` wants to have been looked up in kallsyms."""


NEWEST = "7.3"
"""The latest release of which the rule is known."""


@dataclass(frozen=True)
class Rule:
    """Copy if a bit of ``bits`` is set in the VMA it is looked up in, or an anon_vma.

    ``bits`` maps the number of a bit to the VMA that is asked: ``dst``, the child's,
    or ``src``, the parent's. ``read_from`` tells where we learnt that.
    """

    bits: Mapping[int, Side]
    read_from: ReadFrom

    @property
    def mask(self) -> int:
        """All bits, whichever VMA is asked."""
        return self.dst_mask | self.src_mask

    @property
    def dst_mask(self) -> int:
        """The bits that are looked up in the child's VMA."""
        return self._mask_of("dst")

    @property
    def src_mask(self) -> int:
        """The bits that are looked up in the parent's VMA."""
        return self._mask_of("src")

    def _mask_of(self, side: Side) -> int:
        return sum(1 << bit for bit, asked in self.bits.items() if asked == side)

    def trigger_bits(self, src_flags: int, dst_flags: int) -> int:
        """Return the bits that made the kernel copy; 0 when none did."""
        return (src_flags & self.src_mask) | (dst_flags & self.dst_mask)

    def trigger_name(self, bits: int, names: FlagNames) -> str:
        """Name a copied VMA's trigger, ``pfnmap+mixedmap`` say, ``anon_vma`` for 0."""
        return "+".join(names.names(bits)) or ANON_VMA

    def words(self, names: FlagNames) -> str:
        """Say the rule as a kernel developer would."""
        clauses = [
            f"{side} has {'|'.join(listed)}"
            for side in ("dst", "src")
            if (listed := self._listed(side, names))
        ]
        return "copy if " + ", or ".join([*clauses, "src has an anon_vma"])

    def _listed(self, side: str, names: FlagNames) -> list[str]:
        known = [bit.number for bit in COPYING if bit.number in self.bits]
        others = sorted(set(self.bits) - set(known))
        return [
            names.name(bit).upper() for bit in known + others if self.bits[bit] == side
        ]

    def to_json(self, names: FlagNames) -> dict[str, Any]:
        """Return the published ``rule`` object, its bits in bit order."""
        return {
            "mask": f"{self.mask:#x}",
            "bits": {names.name(bit): self.bits[bit] for bit in sorted(self.bits)},
            "read_from": self.read_from,
        }


@dataclass(frozen=True)
class Reading:
    """The rule, and what else reading it brought to light.

    ``branches`` are the places of the branch witness: offsets into copy_page_range, in
    bytes, of which exactly one runs, once, when the kernel decided to copy, and none
    otherwise (one place mostly, two on 6.12). Empty when the decoder is not sure.
    ``reason`` says why the code did not tell the rule; it is empty when it did.
    """

    rule: Rule
    branches: tuple[int, ...] = ()
    reason: str = ""


def read_rule(
    btf: Btf | None,
    symbols: Symbols,
    release: str | None = None,
    machine: str | None = None,
    read_text: text.ReadText = text.read_kcore,
) -> Reading:
    """Read the running kernel's rule: from its code, else its BTF, else a table.

    ``symbols`` holds SYMBOLS, ``release`` and ``machine`` are those of uname and
    default to this kernel's.
    """
    release = release or os.uname().release
    try:
        found = _run_the_code(btf, symbols, machine or os.uname().machine, read_text)
    except (text.Unreadable, Undecodable) as refusal:
        rule = rule_from_btf(btf, release) if btf else None
        return Reading(rule or rule_of_release(release), reason=str(refusal))
    return Reading(Rule(found.bits, "code"), branches=found.branches)


def _run_the_code(
    btf: Btf | None, symbols: Symbols, machine: str, read_text: text.ReadText
) -> Decision:
    try:
        # Here and not above: it maps Unicorn.
        from forktrace.kernel.decode import read_decision  # noqa: PLC0415
    except ImportError:
        raise Undecodable("the Python package unicorn is missing") from None
    return read_decision(btf, symbols, machine, read_text)


def rule_from_btf(btf: Btf, release: str) -> Rule | None:
    """Return what BTF tells of the rule, None where it tells nothing (before 6.19).

    BTF names the bits but not the mask, which is a macro: a bit that can be in the
    mask and exists is taken to be in it. Where a configuration leaves UFFD_RWP out,
    no VMA ever has that bit, so the decisions are the same.
    """
    enumerators = btf.enum_values("VMA_", "_BIT")
    names = ("PFNMAP", "MIXEDMAP", "UFFD_WP", "MAYBE_GUARD", "UFFD_RWP")
    bits = [
        enumerators[f"VMA_{name}_BIT"]
        for name in names
        if f"VMA_{name}_BIT" in enumerators
    ]
    side: Side = "src" if _asks_src(release) else "dst"
    return Rule(dict.fromkeys(bits, side), "btf") if bits else None


def rule_of_release(release: str) -> Rule:
    """Return the rule that mainline had at ``release`` (``uname -r``), our last resort.

    The module's docstring cites the commits.
    """
    version = flags.version_of(release)
    bits: dict[int, Side] = {PFNMAP: "src", MIXEDMAP: "src"}
    if version < (6, 0, 0):
        bits[HUGETLB] = "src"
    if version >= (5, 19, 0):
        bits[UFFD_WP] = "dst"
    if version >= (6, 18, 37):
        side: Side = "src" if _asks_src(release) else "dst"
        mask = (PFNMAP, MAYBE_GUARD, UFFD_WP, MIXEDMAP)
        bits = dict.fromkeys(mask, side)
    if version >= (7, 3, 0):
        bits[UFFD_RWP] = "dst"
    return Rule(dict(sorted(bits.items())), "table")


def _asks_src(release: str) -> bool:
    """Tell whether this is one of 6.19-rc1 to -rc6, which ask src for every bit."""
    return re.match(r"6\.19(\.0)?-rc[1-6]\b", release) is not None
