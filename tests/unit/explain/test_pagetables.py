"""What copying costs in page tables: leaves, the levels above, and what is shared."""

from __future__ import annotations

from forktrace.explain.pagetables import LEAF, MIDDLE, PAGE, TOP, PageTables

UPPER = 2 * PAGE


def test_one_page_needs_a_table_of_each_level() -> None:
    tables = PageTables.of([5])
    assert tables.size == PAGE + UPPER
    assert tables.copied([(5 * LEAF, 5 * LEAF + PAGE)]) == [PAGE + UPPER]


def test_a_range_without_tables_costs_nothing() -> None:
    tables = PageTables.of([5])
    assert tables.copied([(TOP, TOP + LEAF)]) == [0]


def test_a_neighbours_table_is_copied_though_no_entry_is_ours() -> None:
    """The kernel allocates before it looks at the entries."""
    tables = PageTables.of([5])
    assert tables.copied([(5 * LEAF + 8 * PAGE, 6 * LEAF)]) == [PAGE + UPPER]


def test_a_table_shared_by_two_mappings_counts_for_the_first() -> None:
    tables = PageTables.of([5, 6])
    costs = tables.copied([(5 * LEAF, 5 * LEAF + PAGE), (5 * LEAF + PAGE, 7 * LEAF)])
    assert costs == [PAGE + UPPER, PAGE]


def test_upper_levels_come_once_in_their_own_spans() -> None:
    tables = PageTables.of([0, MIDDLE // LEAF, TOP // LEAF])
    ranges = [(0, PAGE), (MIDDLE, MIDDLE + PAGE), (TOP, TOP + PAGE)]
    assert tables.copied(ranges) == [3 * PAGE, 2 * PAGE, 3 * PAGE]


def test_one_mapping_over_several_spans_pays_for_all() -> None:
    tables = PageTables.of([0, MIDDLE // LEAF, TOP // LEAF])
    assert tables.copied([(0, 2 * TOP)]) == [8 * PAGE] == [tables.size]


def test_huge_entries_have_no_leaf_and_giant_ones_no_middle() -> None:
    assert PageTables.of([], huge=[5]).size == UPPER
    assert PageTables.of([], giant=[0]).size == PAGE
