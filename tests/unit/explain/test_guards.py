"""Guard regions: how many there are, and what they are on which kernel."""

from __future__ import annotations

from forktrace.explain import guards
from forktrace.explain.guards import Guards
from forktrace.explain.pagetables import PAGE
from forktrace.kernel.rule import rule_of_release
from forktrace.procfs import SmapsVma
from tests.unit.explain.samples import vma

ANON = vma(flags="rd wr mr mw gu")
SHMEM = vma(flags="rd wr sh ms gu", shared=True)


def under(release: str, mapping: SmapsVma = SHMEM) -> tuple[bool, bool]:
    rule = rule_of_release(release)
    names, anon_vma = guards.as_under(rule, release, mapping, Guards(None, True))
    return "maybe_guard" in names, anon_vma


def test_pages_are_counted_in_the_mapping_they_lie_in() -> None:
    first, second = vma(0), vma(2)
    ranges = [
        (first.start, first.start + PAGE),
        (first.end - 2 * PAGE, first.end),
        (second.start + PAGE, second.start + 2 * PAGE),
    ]
    assert guards.count([first, vma(1), second], ranges) == [3, 0, 1]


def test_a_range_over_two_mappings_is_shared_out() -> None:
    first, second = vma(0), vma(1)
    ranges = [(first.end - PAGE, second.start + 2 * PAGE)]
    assert guards.count([first, second], ranges) == [1, 2]


def test_where_there_is_a_bit_only_anonymous_memory_gets_an_anon_vma_too() -> None:
    assert under("6.19") == (True, False)
    assert under("6.19", ANON) == (True, True)


def test_before_the_bit_there_was_the_anon_vma() -> None:
    assert under("6.18.36") == (False, True)
    assert under("6.14", ANON) == (False, True)


def test_before_that_there_were_no_guards() -> None:
    assert under("6.14") == (False, False)
    assert under("6.12", ANON) == (False, False)


def test_guards_seen_on_a_kernel_without_the_bit_would_set_it_on_one_that_has_it() -> (
    None
):
    bare = vma(flags="rd wr sh ms", shared=True)
    rule = rule_of_release("7.3")
    names, anon_vma = guards.as_under(rule, "7.3", bare, Guards(1, True))
    assert ("maybe_guard" in names, anon_vma) == (True, False)


def test_the_running_kernel_needs_no_release_to_be_believed() -> None:
    rule = rule_of_release("6.18")
    bare = vma(flags="rd wr sh ms", shared=True)
    assert guards.as_under(rule, None, bare, Guards(1, True))[1] is True
    assert guards.as_under(rule, None, bare, Guards(0, False))[1] is False
