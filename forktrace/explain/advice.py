"""What to do about the cost of a fork: each way with its reason, only where it applies.

Ways that lose nothing come first; those that depend on what the child does come after,
each group by what it saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forktrace.explain.guards import NAME as MAYBE_GUARD
from forktrace.explain.guards import is_anonymous
from forktrace.explain.predict import Fate, Forecast
from forktrace.explain.words import NO_EVENT_FORK, UNGUARD
from forktrace.views.units import size

Action = Literal["unguard", "no_event_fork", "dontfork", "huge_pages", "posix_spawn"]

# Less than this share of the fork's page tables is not worth a line.
_WORTH = 0.02
_FEW = 3
_MANY_ENTRIES = 4096
# The child cannot live without these.
_VITAL = ("[heap]", "[stack]", "[vvar]", "[vvar_vclock]", "[vdso]")


@dataclass(frozen=True)
class Advice:
    """One thing to do, for how many VMAs, and what it saves at each fork.

    ``condition`` says when it is right; empty: always. ``entries`` are page-table
    entries that need not be copied any more where the tables themselves stay,
    ``pinned_bytes`` pages.
    ``mappings`` are the VMAs' start addresses, dearest first; empty: all of them.
    """

    action: Action
    text: str
    reason: str
    condition: str
    vmas: int
    page_table_bytes: int
    entries: int = 0
    mappings: tuple[int, ...] = ()
    pinned_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the published ``advice``."""
        return {
            "action": self.action,
            "text": self.text,
            "reason": self.reason,
            "condition": self.condition or None,
            "vmas": self.vmas,
            "page_table_bytes": self.page_table_bytes,
            "entries": self.entries,
            "pinned_bytes": self.pinned_bytes,
            "mappings": [f"{start:#x}" for start in self.mappings],
        }


def advise(forecast: Forecast) -> tuple[Advice, ...]:
    """Return what to do, the cheapest win first; nothing where nothing is copied."""
    ways = (
        *(_unguard, _no_event_fork, _dontfork_pinned, _dontfork),
        *(_huge_pages, _posix_spawn),
    )
    found = [advice for way in ways for advice in way(forecast)]
    least = _WORTH * forecast.page_table_bytes
    worth = [
        each
        for each in found
        if each.page_table_bytes >= least or each.entries or each.pinned_bytes
    ]
    return tuple(sorted(worth, key=_rank))


def _rank(advice: Advice) -> tuple[bool, bool, int, int]:
    """Put buffers first of what has a condition: children hardly ever use them."""
    return (
        bool(advice.condition),
        advice.action != "dontfork" or not advice.pinned_bytes,
        -advice.page_table_bytes,
        -advice.entries,
    )


def only_guards(fate: Fate) -> bool:
    """Tell whether guard regions alone make fork copy this VMA."""
    if not fate.copied or fate.vma.anonymous or is_anonymous(fate.vma):
        return False
    # Without a bit for them (until 6.18.36) they show as the anon_vma they gave.
    marked = bool(fate.guard_pages) or MAYBE_GUARD in fate.vma.flag_names
    by_anon_vma = fate.trigger == "anon_vma" and marked
    return by_anon_vma or (fate.trigger == MAYBE_GUARD and not fate.anon_vma)


def _unguard(forecast: Forecast) -> Iterator[Advice]:
    guarded = [fate for fate in forecast.fates if only_guards(fate)]
    standing = [fate for fate in guarded if fate.guard_pages != 0]
    empty = [fate for fate in guarded if fate.guard_pages == 0]
    if standing:
        dearest = _dearest(standing)[0]
        pages = dearest.guard_pages
        who = (
            "1 guard page makes" if pages == 1 else f"{pages or 'The'} guard pages make"
        )
        yield _about(
            forecast,
            standing,
            "unguard",
            UNGUARD,
            f"{who} fork copy the page tables of the whole "
            f"{size(dearest.vma.size)} of {_name(dearest)}.",
        )
    if empty:
        yield _about(
            forecast,
            empty,
            "unguard",
            "Map anew what once had guard pages",
            "No guard page is left there, but the mark of one stays after "
            "MADV_GUARD_REMOVE and spreads when mappings merge.",
        )


def _no_event_fork(forecast: Forecast) -> Iterator[Advice]:
    kept = [
        fate
        for fate in forecast.fates
        if fate.copied
        and not fate.anon_vma
        and all(bit.startswith("uffd_") for bit in (fate.trigger or "").split("+"))
    ]
    if kept:
        yield _about(
            forecast,
            kept,
            "no_event_fork",
            NO_EVENT_FORK,
            "The child then loses the userfaultfd, and with it the need for a copy.",
            "if the child's faults need not be seen",
        )


def _dontfork_pinned(forecast: Forecast) -> Iterator[Advice]:
    pinned = [fate for fate in forecast.fates if fate.pinned_bytes]
    if pinned:
        pinned.sort(key=lambda fate: (-fate.pinned_bytes, fate.vma.start))
        whole = [each for each in pinned if each.pinned_bytes == each.vma.size]
        buffers = ", ".join(
            f"{fate.vma.start:#x} ({size(fate.pinned_bytes)})" for fate in pinned[:_FEW]
        )
        yield Advice(
            action="dontfork",
            text=f"madvise(MADV_DONTFORK) on the buffers registered with io_uring, in "
            f"{buffers}{' and others' if len(pinned) > _FEW else ''}",
            reason="They are pinned: fork gives the child copies of their pages, as "
            "the kernel goes on to write to the parent's.",
            condition="if the child does not use them",
            vmas=len(whole),
            page_table_bytes=forecast.saved(whole),
            mappings=tuple(fate.vma.start for fate in pinned),
            pinned_bytes=forecast.pinned_bytes,
        )


def _dontfork(forecast: Forecast) -> Iterator[Advice]:
    tables = forecast.tables.geometry.tables
    least = max(64 << 10, 3 * tables[0], forecast.page_table_bytes // 10)
    large = [
        fate
        for fate in forecast.fates
        if fate.copied
        and not fate.pinned_bytes
        and fate.page_table_bytes >= least
        and not fate.vma.name.startswith(_VITAL)
        and not only_guards(fate)
    ]
    if large:
        few = _dearest(large)[:_FEW]
        yield _about(
            forecast,
            few,
            "dontfork",
            f"madvise(MADV_DONTFORK) on {_listed(few)}",
            "The child then has no such mapping, and nothing is copied for it.",
            "if the child does not use that memory",
        )


def _huge_pages(forecast: Forecast) -> Iterator[Advice]:
    page, leaf = forecast.tables.geometry.page, forecast.tables.geometry.leaf
    small = [
        fate
        for fate in forecast.fates
        if fate.copied
        and is_anonymous(fate.vma)
        and fate.vma.size >= 2 * leaf
        and fate.pages * page > fate.vma.rss // 2
        and "ht" not in fate.vma.vm_flags
        # One pinned page makes fork copy all of the huge page that it is in.
        and not fate.pinned_bytes
    ]
    entries = sum(fate.pages for fate in small)
    if entries >= _MANY_ENTRIES:
        few = sorted(small, key=lambda fate: -fate.pages)[:_FEW]
        left = entries // (leaf // page)
        yield Advice(
            action="huge_pages",
            text=f"Huge pages (MADV_HUGEPAGE) for {_listed(few)}",
            reason=f"About {entries:,} entries to copy become {left:,}. The page "
            "tables stay as many: the kernel lays one by for each huge page.",
            condition=f"if it may take {size(leaf)} at a time to write after the fork",
            vmas=0,
            page_table_bytes=0,
            entries=entries - left,
            mappings=tuple(fate.vma.start for fate in few),
        )


def _posix_spawn(forecast: Forecast) -> Iterator[Advice]:
    if forecast.page_table_bytes:
        yield Advice(
            action="posix_spawn",
            text="posix_spawn() or vfork() instead of fork()",
            reason="They share the parent's memory until exec: nothing is copied. "
            "/proc does not tell which of them a process calls; forktrace top does.",
            condition="if it calls fork() for a child that only calls exec",
            vmas=forecast.counts.copy,
            page_table_bytes=forecast.page_table_bytes,
            pinned_bytes=forecast.pinned_bytes,
        )


def _about(
    forecast: Forecast,
    fates: Sequence[Fate],
    action: Action,
    text: str,
    reason: str,
    condition: str = "",
) -> Advice:
    return Advice(
        action=action,
        text=text,
        reason=reason,
        condition=condition,
        vmas=len(fates),
        page_table_bytes=forecast.saved(fates),
        mappings=tuple(fate.vma.start for fate in _dearest(fates)),
    )


def _dearest(fates: Sequence[Fate]) -> list[Fate]:
    return sorted(fates, key=lambda fate: (-fate.page_table_bytes, fate.vma.start))


def _listed(fates: Sequence[Fate]) -> str:
    return ", ".join(f"{fate.vma.start:#x} ({size(fate.vma.size)})" for fate in fates)


def _name(fate: Fate) -> str:
    return fate.vma.name.rpartition("/")[2] or f"{fate.vma.start:#x}"
