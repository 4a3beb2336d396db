"""Where fork() copies pages, not only entries: it does so with those that are pinned.

A page that a device may write to (FOLL_PIN: buffers registered with io_uring, RDMA) has
to stay the parent's, so copy_present_page() gives the child a copy of it at once (Linux
5.9, commit 70e806e4e645, "mm: Do early cow for pinned pages during fork() for ptes").
Compilers inline that into copy_page_range(). What they leave is the call that gives the
copy its rmap, one for each page. On this instruction a probe counts exactly, and costs
nobody else anything: the function that is called there runs at each page fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from forktrace.kernel.arch import architecture
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import ReadText, Unreadable

_COPYING = (
    *("copy_page_range", "copy_p4d_range", "copy_pud_range", "copy_pmd_range"),
    *("copy_pte_range", "copy_present_pte", "copy_present_ptes", "copy_present_page"),
)
"""What copies one VMA, as far as it was not inlined; nothing else calls any of it."""

_RMAP = ("folio_add_new_anon_rmap", "page_add_new_anon_rmap")

HUGE_RMAP = ("hugetlb_add_new_anon_rmap", "hugepage_add_new_anon_rmap")
"""The same for hugetlb, renamed in 6.8. It runs only where such a page is new, which
costs so much that a probe at its entry does not show."""

FAULTING = ("wp_page_copy", "do_wp_page")
"""What handles a write to a page that is shared: the latter where the former, which
copies, was inlined into it."""

WHERE_FAULTED = (*FAULTING, *_RMAP)
"""Whose addresses must be known to find where such a fault copies a page."""

WHERE_COPIED = (*_COPYING, *_RMAP)
"""Whose addresses must be known to find where a page is copied."""

SYMBOLS = (*WHERE_COPIED, *HUGE_RMAP)
"""What is looked up in kallsyms."""

_AROUND = range(-16, 5)
"""How far from a function its calls may go: 16 bytes before it where the kernel counts
the depth of calls (retbleed=stuff), 4 behind it where they spare themselves endbr64."""


class Call(NamedTuple):
    """A call, by the function that makes it and how far in it."""

    function: str
    offset: int


def find_page_copies(
    symbols: Symbols,
    machine: str,
    read_text: ReadText,
    within: Sequence[str] = _COPYING,
) -> tuple[Call, ...]:
    """Return the calls that each copied page makes one of; none where not found.

    ``within`` are the functions that copy: fork's, or FAULTING. Without their
    addresses and sizes nothing is found.
    """
    rmap = [each.address for name in _RMAP if (each := symbols.get(name))]
    arch = architecture(machine)
    if arch is None:
        return ()
    called = {address + aside for address in filter(None, rmap) for aside in _AROUND}
    return tuple(
        Call(function.name, at - function.address)
        for function in _known(symbols, within)
        for at, target in arch.calls(_code(function, read_text), function.address)
        if target in called
    )


def _known(symbols: Symbols, names: Sequence[str]) -> Iterator[Symbol]:
    for name in names:
        yield from (each for each in symbols.variants(name) if each.size)


def _code(function: Symbol, read_text: ReadText) -> bytes:
    try:
        return read_text(function).code
    except Unreadable:
        return b""
