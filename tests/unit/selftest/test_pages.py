"""Page tables as /proc/PID/pagemap tells them, held against what we did to them."""

from __future__ import annotations

import mmap
import os

from forktrace.kinds import EveryKind, living_child
from forktrace.selftest.pages import Pages, held

PAGE = mmap.PAGESIZE


def test_a_page_is_held_once_it_was_touched() -> None:
    with EveryKind({"untouched", "anon"}, stride=2 * PAGE) as every:
        untouched, anon = ((each.start, each.end) for each in every.mappings)
        empty, every_second = held(os.getpid(), [untouched, anon])
    assert empty == set()
    assert every_second == set(range(*anon, 2 * PAGE))


def test_a_child_holds_what_fork_copied() -> None:
    with EveryKind({"anon", "shmem", "dontfork"}) as every, living_child() as child:
        by_kind = {
            mapping.kind.name: pages
            for mapping, pages in zip(
                every.mappings,
                held(child, [(each.start, each.end) for each in every.mappings]),
            )
        }
    assert {kind: len(pages) for kind, pages in by_kind.items()} == {
        "anon": 16,
        "shmem": 0,
        "dontfork": 0,
    }


def test_only_the_parents_pages_count() -> None:
    pages = Pages.of({PAGE, 2 * PAGE}, {2 * PAGE, 3 * PAGE})
    assert pages == Pages(parent=2, child=1)
    assert pages.copied


def test_an_empty_table_tells_nothing() -> None:
    assert Pages.of(set(), {PAGE}).copied is None
    assert Pages.of({PAGE}, set()).copied is False
