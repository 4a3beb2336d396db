"""Counts the pages that fork() copies itself, because the parent has them pinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forktrace.errors import Unsupported
from forktrace.kernel.page_copies import HUGE_RMAP, Call
from forktrace.kernel.symbols import Symbols
from forktrace.tracer.attach import Place, Probes, open_kprobe

_SMALL, _HUGE = "page_copied", "huge_page_copied"

PROGRAMS = (_SMALL, _HUGE)
"""The BPF programs that count."""


def attach_page_copies(
    programs: Mapping[str, int], calls: Sequence[Call], symbols: Symbols
) -> Probes:
    """Attach where each copied page passes; to nothing where that is not known.

    Hugetlb may be missing from the kernel, and then none of its pages are copied.
    """
    if not calls:
        return Probes()
    places = [(_SMALL, Place(*call)) for call in calls]
    places += [(_HUGE, Place(name)) for name in HUGE_RMAP if name in symbols]
    try:
        with Probes.all_or_none() as probes:
            for program, place in places:
                probes.kprobe(programs[program], place, open_kprobe)
    except Unsupported:
        return Probes()
    return probes
