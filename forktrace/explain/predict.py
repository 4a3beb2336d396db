"""What fork would do with each VMA of a process by a rule, and what that would cost.

/proc tells almost all that the kernel decides by. What it does not tell is kept apart
as a ``doubt``, and what it would cost if it came true:

* ``anon_vma``: a private VMA that was written once, or merged with one that was, has an
  anon_vma also when none of its pages is anonymous now;
* ``event_fork``: whether the userfaultfd of a VMA reports forks is known only if the
  process holds the userfaultfd itself;
* ``vm_flags``: a pasted smaps has no VmFlags where the kernel is older than 3.8, or
  where somebody cut them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from forktrace.explain import guards, pins
from forktrace.explain.guards import Guards
from forktrace.explain.pagetables import LEAF, MIDDLE, PAGE, TOP, PageTables
from forktrace.explain.process import Process
from forktrace.kernel import fork
from forktrace.model import Decision, TriggerCost, VmaCounts
from forktrace.procfs import SmapsVma

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forktrace.kernel.flags import FlagNames
    from forktrace.kernel.rule import Rule

Doubt = Literal["", "anon_vma", "event_fork", "vm_flags"]


@dataclass(frozen=True)
class Fate:
    """What fork would do with one VMA.

    ``anon_vma`` is None where /proc does not tell. ``page_table_bytes`` are those that
    would be newly allocated for it; with a ``doubt``, those if it came true, which the
    forecast's sums leave out. ``guard_pages`` is None where they are not known.
    ``pinned_bytes`` are pages that are copied themselves, for what /proc tells.
    """

    vma: SmapsVma
    decision: Decision
    trigger: str | None
    anon_vma: bool | None
    doubt: Doubt = ""
    page_table_bytes: int = 0
    guard_pages: int | None = None
    pinned_bytes: int = 0

    @property
    def copied(self) -> bool:
        """Whether the kernel would copy its page tables."""
        return self.decision == "copy"

    @property
    def pages(self) -> int:
        """Entries to copy, about: pages present, but for huge ones."""
        sizes = self.vma.sizes
        huge = ("AnonHugePages", "FilePmdMapped", "ShmemPmdMapped")
        small = self.vma.rss - sum(sizes.get(name, 0) for name in huge)
        return max(0, small) // (sizes.get("KernelPageSize") or PAGE)


@dataclass(frozen=True)
class Forecast:
    """What a fork of one process would copy.

    ``hidden_bytes`` are the page tables the process has (VmPTE) that show nothing:
    empty ones mostly, left by memory given back. ``tables`` has them where they most
    likely are, and ``hidden_copied`` is what of the cost rests on that. The cost is
    between ``least_bytes`` and ``most_bytes``, for all that is not known.
    """

    process: Process
    rule: Rule
    fates: tuple[Fate, ...]
    tables: PageTables
    hidden_bytes: int
    hidden_copied: int
    least_bytes: int = 0
    most_bytes: int = 0

    @property
    def counts(self) -> VmaCounts:
        """How many VMAs meet each decision."""
        made = [fate.decision for fate in self.fates]
        return VmaCounts(
            *(made.count(each) for each in ("copy", "skip", "dontcopy", "wipeonfork"))
        )

    @property
    def page_table_bytes(self) -> int:
        """Bytes of page tables the child would be given."""
        return sum(fate.page_table_bytes for fate in self.fates if fate.copied)

    @property
    def pinned_bytes(self) -> int:
        """Bytes of pages that would be copied themselves, for what /proc tells."""
        return sum(fate.pinned_bytes for fate in self.fates)

    @property
    def pinned_elsewhere(self) -> int:
        """Bytes that are pinned (VmPin) and not known where: at least so many."""
        known = sum(end - start for start, end in self.process.buffers)
        return max(0, self.process.pinned_bytes - known)

    @property
    def doubtful(self) -> tuple[Fate, ...]:
        """Those VMAs that would not be copied, as far as /proc tells."""
        return tuple(fate for fate in self.fates if fate.doubt and not fate.copied)

    @property
    def triggers(self) -> tuple[TriggerCost, ...]:
        """What each trigger costs, the dearest first; copy_ns is not known: 0."""
        sums: dict[tuple[str, bool], tuple[int, int]] = {}
        for fate in self.fates:
            if fate.trigger:
                key = (fate.trigger, bool(fate.anon_vma))
                vmas, size = sums.get(key, (0, 0))
                sums[key] = (vmas + 1, size + fate.page_table_bytes)
        ranked = sorted(sums.items(), key=lambda entry: (-entry[1][1], entry[0]))
        return tuple(
            TriggerCost(trigger, anon, vmas, 0, size)
            for (trigger, anon), (vmas, size) in ranked
        )

    def added(self, fates: Iterable[Fate]) -> int:
        """Return the bytes that copying some VMAs as well would add."""
        more = {fate.vma.start for fate in fates}
        every = [f for f in self.fates if f.copied or f.vma.start in more]
        whole = self.tables.copied((fate.vma.start, fate.vma.end) for fate in every)
        return sum(whole) - self.page_table_bytes

    def saved(self, without: Iterable[Fate]) -> int:
        """Return the bytes that not copying some VMAs would save."""
        left_out = {fate.vma.start for fate in without}
        kept = [f for f in self.fates if f.copied and f.vma.start not in left_out]
        rest = self.tables.copied((fate.vma.start, fate.vma.end) for fate in kept)
        return self.page_table_bytes - sum(rest)


def forecast(
    process: Process, rule: Rule, names: FlagNames, release: str | None = None
) -> Forecast:
    """Return what a fork of ``process`` would copy.

    ``rule`` is the running kernel's, or, with ``release``, that of another kernel.
    ``names`` are those of the running kernel's bits.
    """

    @lru_cache(maxsize=1024)
    def decided(src: frozenset[str], anon: bool, fork_event: bool) -> fork.Fate:
        dst = fork.inherited(src, fork_event=fork_event)
        return fork.fate(rule, names, src, dst, anon_vma=anon)

    fates = [
        _decide(vma, found, rule, decided, process.fork_event, release)
        for vma, found in zip(process.vmas, process.guards)
    ]
    seen = process.seen.tables
    own = process.page_table_bytes
    hidden = max(0, own - seen.size) if own is not None else 0
    tables = with_hidden(seen, hidden, fates)
    priced = tuple(
        replace(fate, pinned_bytes=pins.copied_bytes(fate.vma, process.buffers))
        if fate.copied
        else fate
        for fate in _priced(fates, tables)
    )
    made = Forecast(process, rule, priced, tables, hidden, 0)
    least, most = _bounds(made)
    return replace(
        made,
        hidden_copied=made.page_table_bytes - _cost(seen, priced),
        least_bytes=least,
        most_bytes=most if own is None else max(least, min(most, own)),
    )


def _bounds(made: Forecast) -> tuple[int, int]:
    """Return the least and the most that may be allocated, wherever memory lies."""
    every = (made.tables, *made.process.seen.others)
    least = min(_cost(tables, made.fates) for tables in every)
    return least, max(_cost(tables, made.fates, doubts=True) for tables in every)


def _cost(tables: PageTables, fates: Iterable[Fate], *, doubts: bool = False) -> int:
    wanted = (fate for fate in fates if fate.copied or (doubts and fate.doubt))
    return sum(tables.copied((fate.vma.start, fate.vma.end) for fate in wanted))


def _decide(
    vma: SmapsVma,
    found: Guards,
    rule: Rule,
    decided: Callable[[frozenset[str], bool, bool], fork.Fate],
    fork_event: bool | None,
    release: str | None,
) -> Fate:
    src, by_guard = guards.as_under(rule, release, vma, found)
    anon = True if by_guard else has_anon_vma(vma)
    made = decided(src, bool(anon), bool(fork_event))
    doubt: Doubt = ""
    if fork_event is None and decided(src, bool(anon), True) != made:
        doubt = "event_fork"
    elif made.decision == "skip" and not vma.vm_flags:
        doubt = "vm_flags"
    elif made.decision == "skip" and anon is None:
        doubt = "anon_vma"
    return Fate(vma, *made, anon, doubt, guard_pages=found.pages)


_SPECIAL = ("[v", "[sigpage]", "[uprobes]")
"""Names of pages of the kernel's own."""


def has_anon_vma(vma: SmapsVma) -> bool | None:
    """Tell whether a VMA has an anon_vma; None where smaps does not tell.

    Anonymous pages prove it, here or in swap. Shared memory never has any, nor does a
    special mapping of the kernel that nobody may ever write.
    """
    if vma.anonymous or (guards.is_anonymous(vma) and vma.sizes.get("Swap")):
        return True
    if vma.perms[3] == "s" or (vma.vm_flags and "mw" not in vma.vm_flags):
        return False
    # An old kernel does not print it; only anonymous pages are in the Rss of these.
    if "Anonymous" not in vma.sizes and guards.is_anonymous(vma) and vma.rss:
        return not vma.name.startswith(_SPECIAL) or None
    # A private huge page of no file is anonymous from its first touch on.
    return True if vma.hugetlb and vma.name.startswith("/anon_hugepage") else None


def with_hidden(seen: PageTables, hidden: int, fates: Sequence[Fate]) -> PageTables:
    """Return the tables with ``hidden`` bytes more, where they most likely are.

    A PFNMAP's come first, which pagemap never shows. The rest are empty tables, left in
    private memory that was given back to the kernel: the largest mappings first.
    """
    left = hidden // PAGE
    if not left:
        return seen
    leaves, middles, tops = set(seen.leaves), set(seen.middles), set(seen.tops)
    for fate in sorted(fates, key=_hides):
        if left <= 0 or _hides(fate) > _HIDES_NOTHING:
            break
        for leaf in range(fate.vma.start // LEAF, -(-fate.vma.end // LEAF)):
            if leaf in leaves:
                continue
            middle, top = leaf * LEAF // MIDDLE, leaf * LEAF // TOP
            left -= 1 + (middle not in middles) + (top not in tops)
            if left < 0:
                break
            leaves.add(leaf)
            middles.add(middle)
            tops.add(top)
    return PageTables(
        tuple(sorted(leaves)), tuple(sorted(middles)), tuple(sorted(tops))
    )


_HIDES_NOTHING = (1, 1)


def _hides(fate: Fate) -> tuple[int, int]:
    """Order VMAs by how likely they have tables that pagemap does not show."""
    flags = fate.vma.vm_flags
    if "pf" in flags:
        return (-1, -fate.vma.size)
    if fate.anon_vma and "wr" in flags and "ht" not in flags:
        return (0, -fate.vma.size)
    return (2, 0)


def _priced(fates: Sequence[Fate], tables: PageTables) -> tuple[Fate, ...]:
    """Fill in what each copy allocates, and what each doubtful one would."""
    costs: dict[int, int] = {}
    for wanted in (
        [fate for fate in fates if fate.copied or fate.doubt],
        [fate for fate in fates if fate.copied],
    ):
        ranges = [(fate.vma.start, fate.vma.end) for fate in wanted]
        priced = zip(wanted, tables.copied(ranges))
        costs.update((fate.vma.start, cost) for fate, cost in priced)
    return tuple(
        replace(fate, page_table_bytes=costs.get(fate.vma.start, 0)) for fate in fates
    )
