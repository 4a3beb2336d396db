"""Mappings and records as a 7.3 kernel gives them, for the tests of the comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forktrace.kernel.flags import FlagNames
from forktrace.kernel.fork import inherited, left_out
from forktrace.kernel.rule import Rule
from forktrace.kinds import KINDS, Mapping
from forktrace.model import Fork, Histogram, Totals, Vma, VmaCounts

NAMES = FlagNames()
BITS_7_3 = (10, 11, 12, 28, 43)
RULE_7_3 = Rule(dict.fromkeys(BITS_7_3, "dst"), "code")
RULE_6_19_RC1 = Rule(dict.fromkeys(BITS_7_3[:4], "src"), "code")

_KINDS = {kind.name: kind for kind in KINDS}


def mapping(
    kind: str, *src: str, anon_vma: bool = False, fork_event: bool = False
) -> Mapping:
    """Return a mapping whose VMA in the parent has the flags ``src``."""
    flags = frozenset(src)
    return Mapping(
        kind=_KINDS[kind],
        start=0x2000000000,
        end=0x2000010000,
        src=flags,
        dst=inherited(flags, fork_event=fork_event),
        anon_vma=anon_vma,
        fixed=left_out(flags),
    )


SKIPPED_VMA = Vma(
    0x2000000000, 0x2000010000, 0xFB, 0xFB, ("read", "write"), False, "skip", "branch",
    None, 0, 0,
)  # fmt: skip


def copied(trigger: str, **changes: Any) -> Vma:
    return replace(SKIPPED_VMA, decision="copy", trigger=trigger, **changes)


def fork(page_table_bytes: int = 4096, **changes: Any) -> Fork:
    plain = Fork(
        0, 7, 7, "x", 8, "/", "ok", None, 1, 1, page_table_bytes, VmaCounts(), ()
    )
    return replace(plain, **changes)


def totals(**changes: Any) -> Totals:
    none = Histogram((), (0,), 0)
    plain = Totals(
        {"ok": 3, "failed": 0}, VmaCounts(), (), none, none, {"vma_event": 0}
    )
    return replace(plain, **changes)
