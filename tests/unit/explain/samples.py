"""Small processes made up for the tests of what needs no real one."""

from __future__ import annotations

from forktrace.explain.guards import Guards
from forktrace.explain.pagemap import Seen
from forktrace.explain.pagetables import LEAF, PageTables
from forktrace.explain.pins import Range
from forktrace.explain.process import Process
from forktrace.kernel.flags import FlagNames
from forktrace.procfs import SmapsVma

NAMES = FlagNames.of("7.3.4", {})
MIB = 1 << 20
BASE = 0x20_0000_0000


def vma(
    place: int = 0,
    flags: str = "rd wr mr mw me",
    *,
    leaves: int = 1,
    anonymous: int = 0,
    shared: bool = False,
    name: str = "",
    **sizes: int,
) -> SmapsVma:
    """Return a VMA of so many leaves, ``place`` leaves above the first address."""
    start = BASE + place * LEAF
    return SmapsVma(
        start=start,
        end=start + leaves * LEAF,
        perms="rw-s" if shared else "rw-p",
        offset=0,
        device="00:00",
        inode=7 if name or shared else 0,
        name=name,
        sizes={"Rss": anonymous, "Anonymous": anonymous, **sizes},
        other={},
        vm_flags=frozenset(flags.split()),
    )


def process(
    *vmas: SmapsVma,
    leaves: list[int] | None = None,
    fork_event: bool | None = None,
    hidden: int = 0,
    guards: tuple[Guards, ...] | None = None,
    buffers: tuple[Range, ...] = (),
    pinned: int = 0,
) -> Process:
    """Return a process; ``leaves`` are places, all that the VMAs span by default."""
    if leaves is None:
        spans = [range(v.start // LEAF, -(-v.end // LEAF)) for v in vmas]
        numbers = [number for span in spans for number in span]
    else:
        numbers = [BASE // LEAF + place for place in leaves]
    tables = PageTables.of(numbers)
    marks = tuple(Guards(None, "gu" in each.vm_flags) for each in vmas)
    return Process(
        pid=4711,
        comm="demo",
        page_table_bytes=tables.size + hidden,
        vmas=vmas,
        guards=guards or marks,
        seen=Seen(tables, ()),
        fork_event=fork_event,
        buffers=buffers,
        pinned_bytes=pinned,
    )
