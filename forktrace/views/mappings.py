"""Tables of mappings in what ``explain`` says: which cost, which do not, and why."""

from __future__ import annotations

from forktrace.explain.advice import only_guards
from forktrace.explain.predict import Fate, Forecast
from forktrace.text import printable
from forktrace.views.units import fitting, size

_DEAREST = 8
_GUARDED = 5
_LEFT_OUT = 4


def dearest(forecast: Forecast, width: int) -> list[str]:
    """Return the mappings that cost most; those that cost nothing are left out."""
    costly = [f for f in forecast.fates if f.copied and f.page_table_bytes]
    costly.sort(key=lambda fate: (-fate.page_table_bytes, fate.vma.start))
    if not costly:
        return []
    said = ["", f"  {'TABLES':>8}  {'SIZE':>8}  {'RSS':>8}  {'WHY':<11}  MAPPING"]
    for fate in costly[:_DEAREST]:
        row = (
            f"  {size(fate.page_table_bytes):>8}  {size(fate.vma.size):>8}  "
            f"{size(_present(fate)):>8}  {fate.trigger:<11}  "
            f"{fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    rest = costly[_DEAREST:]
    total = size(sum(fate.page_table_bytes for fate in rest))
    return said + more(len(rest), f", {total}")


def left_out(forecast: Forecast, width: int) -> list[str]:
    """Show where the most memory is that fork does not copy page tables for."""
    large = [f for f in forecast.fates if not f.copied and _present(f)]
    large.sort(key=lambda fate: (-_present(fate), fate.vma.start))
    if not large:
        return []
    said = ["", f"  {'SIZE':>8}  {'RSS':>8}  {'NOT COPIED':<21}  MAPPING"]
    for fate in large[:_LEFT_OUT]:
        row = (
            f"  {size(fate.vma.size):>8}  {size(_present(fate)):>8}  "
            f"{_why_not(fate):<21}  {fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    rest = large[_LEFT_OUT:]
    return said + more(len(rest), f", {size(sum(map(_present, rest)))}")


def _why_not(fate: Fate) -> str:
    if fate.decision != "skip":
        return fate.decision
    if fate.doubt == "vm_flags":
        return "flags not known"
    if fate.doubt == "event_fork":
        return "perhaps " + "+".join(
            sorted(name for name in fate.vma.flag_names if name.startswith("uffd_"))
        )
    if fate.vma.perms[3] == "s":
        return "shared"
    return "no anonymous page" if fate.doubt else "never written"


def _present(fate: Fate) -> int:
    """Return what of a mapping is in memory: Rss leaves hugetlb out."""
    return fate.vma.rss + fate.vma.hugetlb


def guarded(forecast: Forecast, width: int) -> list[str]:
    """Show what guard pages cost, where they alone make fork copy."""
    found = [fate for fate in forecast.fates if only_guards(fate)]
    if not found:
        return []
    found.sort(key=lambda fate: (-fate.page_table_bytes, fate.vma.start))
    said = ["", f"  {'GUARDS':>8}  {'COPIED':>8}  {'SIZE':>8}  MAPPING COPIED FOR THEM"]
    for fate in found[:_GUARDED]:
        pages = "?" if fate.guard_pages is None else str(fate.guard_pages)
        row = (
            f"  {pages:>8}  {size(fate.page_table_bytes):>8}  "
            f"{size(fate.vma.size):>8}  {fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    return said + more(len(found) - _GUARDED)


def buffers(forecast: Forecast, width: int) -> list[str]:
    """Show which mappings hold pages that are copied themselves."""
    pinned = [fate for fate in forecast.fates if fate.pinned_bytes]
    if not pinned:
        return []
    pinned.sort(key=lambda fate: (-fate.pinned_bytes, fate.vma.start))
    said = ["", f"  {'PAGES':>8}  {'SIZE':>8}  MAPPING WITH PINNED PAGES"]
    for fate in pinned[:_GUARDED]:
        row = (
            f"  {size(fate.pinned_bytes):>8}  {size(fate.vma.size):>8}  "
            f"{fate.vma.start:x} {fate.vma.perms} "
        )
        said.append(_named(row, fate, width))
    return said + more(len(pinned) - _GUARDED)


def more(count: int, what: str = "") -> list[str]:
    """Say how many rows were left out."""
    return [f"  and {count} more{what}"] if count > 0 else []


def _named(row: str, fate: Fate, width: int) -> str:
    whole = row + _shortened(fate.vma.name, width - len(row))
    return whole[:width].rstrip()


def _shortened(name: str, room: int) -> str:
    """Return a name that fits: the end of a path tells most."""
    name = printable(name)
    return fitting(name, room) if room > 8 or len(name) <= room else ""
