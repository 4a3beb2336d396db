"""Each way to a cheaper fork: when it is told, what it saves, and in which order."""

from __future__ import annotations

from forktrace.explain.advice import Advice, advise
from forktrace.explain.guards import Guards
from forktrace.explain.pagetables import LEAF, PAGE
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.kernel.rule import rule_of_release
from tests.unit.explain.samples import MIB, NAMES, process, vma

GUARDED = vma(0, "rd sh ms gu", leaves=400, shared=True, name="/lib.so")
ANON = vma(500, anonymous=MIB)


def given(seen: Process, release: str = "7.3") -> tuple[Advice, ...]:
    return advise(forecast(seen, rule_of_release(release), NAMES, release))


def only(action: str, seen: Process, release: str = "7.3") -> Advice:
    (found,) = (each for each in given(seen, release) if each.action == action)
    return found


def actions(seen: Process) -> list[str]:
    return [each.action for each in given(seen)]


def test_a_guard_page_that_costs_a_whole_mapping() -> None:
    found = only("unguard", process(GUARDED, ANON, guards=(Guards(1, True),) * 2))
    assert (found.vmas, found.condition) == (1, "")
    assert found.page_table_bytes == 400 * PAGE
    assert "1 guard page makes fork copy" in found.reason
    assert "800 MiB of lib.so" in found.reason


def test_a_mark_without_any_guard_page() -> None:
    marks = (Guards(0, True), Guards(0, False))
    found = only("unguard", process(GUARDED, ANON, guards=marks))
    assert "No guard page is left" in found.reason


def test_guards_on_memory_that_is_copied_anyway_are_left_alone() -> None:
    anon = vma(0, "rd wr mr mw gu", leaves=9, anonymous=9 * MIB)
    assert "unguard" not in actions(process(anon, guards=(Guards(1, True),)))


def test_guards_that_gave_an_anon_vma_before_there_was_a_bit() -> None:
    seen = process(GUARDED, guards=(Guards(2, True),))
    assert only("unguard", seen, "6.18.36").vmas == 1


def test_a_userfaultfd_that_reports_forks() -> None:
    uffd = vma(0, "rd wr sh ms uw", leaves=64, shared=True)
    assert "no_event_fork" in actions(process(uffd, fork_event=True))
    assert "no_event_fork" not in actions(process(uffd, fork_event=False))


def test_large_private_memory_may_be_kept_from_the_child() -> None:
    large, heap = vma(0, leaves=64, anonymous=MIB), vma(200, leaves=64, anonymous=MIB)
    found = only("dontfork", process(large, heap))
    assert (found.vmas, found.page_table_bytes) == (2, 130 * PAGE)
    assert "if the child" in found.condition


def test_nobody_is_told_that_it_forks_where_it_may_only_vfork() -> None:
    """/proc does not tell: the advice holds for either."""
    found = only("posix_spawn", process(ANON))
    assert found.condition.startswith("if it calls fork()")
    assert "/proc does not tell" in found.reason


def test_stack_and_heap_are_the_childs_too() -> None:
    heap = vma(0, leaves=64, anonymous=MIB, name="[heap]")
    assert actions(process(heap)) == ["posix_spawn"]


def test_dense_private_memory_could_have_huge_pages() -> None:
    dense = vma(0, leaves=64, anonymous=64 * LEAF)
    found = only("huge_pages", process(dense))
    assert found.entries == 64 * 512 - 64
    assert found.page_table_bytes == 0
    huge = vma(0, leaves=64, anonymous=64 * LEAF, AnonHugePages=64 * LEAF)
    assert "huge_pages" not in actions(process(huge))


def test_pinned_buffers_before_all_else() -> None:
    """Huge pages would make it worse: one pinned page copies all that are in it."""
    pool = vma(0, leaves=64, anonymous=64 * LEAF)
    other = vma(200, leaves=64, anonymous=64 * LEAF)
    buffers = ((pool.start, pool.start + 8 * MIB),)
    seen = process(pool, other, buffers=buffers)
    found = given(seen)[0]
    assert found.action == "dontfork"
    assert found.text.endswith(f"io_uring, in {pool.start:#x} (8 MiB)")
    assert (found.pinned_bytes, found.mappings) == (8 * MIB, (pool.start,))
    # Only a part of the mapping: its page tables stay.
    assert (found.vmas, found.page_table_bytes) == (0, 0)
    assert only("huge_pages", seen).mappings == (other.start,)
    assert only("posix_spawn", seen).pinned_bytes == 8 * MIB


def test_a_buffer_that_is_a_whole_mapping_saves_its_tables_too() -> None:
    pool = vma(0, leaves=4, anonymous=4 * LEAF)
    (found, _) = given(process(pool, buffers=((pool.start, pool.end),)))
    assert (found.vmas, found.pinned_bytes) == (1, pool.size)
    assert found.page_table_bytes == 6 * PAGE


def test_posix_spawn_saves_all_there_is() -> None:
    found = only("posix_spawn", process(ANON))
    assert (found.vmas, found.page_table_bytes) == (1, 3 * PAGE)
    assert actions(process(vma(flags="rd sh ms", shared=True))) == []


def test_what_loses_nothing_comes_first_then_what_saves_most() -> None:
    small = vma(0, "rd sh ms gu", leaves=40, shared=True, name="/lib.so")
    seen = process(
        small, vma(100, leaves=64, anonymous=MIB), guards=(Guards(1, True),) * 2
    )
    assert actions(seen) == ["unguard", "posix_spawn", "dontfork"]


def test_what_saves_next_to_nothing_is_not_told() -> None:
    small = vma(0, "rd sh ms gu", shared=True, name="/lib.so")
    large = vma(100, leaves=400, anonymous=MIB)
    assert "unguard" not in actions(process(small, large))
