"""Tables of costs: what stands in them, and how wide they are."""

from __future__ import annotations

from typing import Any

from tests.investigations.stories.table import costs, table, wrapped


def fork(*triggers: tuple[str, int, int, int]) -> dict[str, Any]:
    keys = ("trigger", "vmas", "copy_ns", "page_table_bytes")
    return {"triggers": [dict(zip(keys, each)) for each in triggers]}


def test_costs_are_the_least_time_and_the_median_size_of_each_trigger() -> None:
    forks = [
        fork(("anon_vma", 2, time, size)) for time, size in ((9, 1), (5, 3), (7, 2))
    ]
    assert costs(forks) == {"anon_vma": (2, 5, 2)}


def test_a_trigger_with_and_without_anon_vma_is_one() -> None:
    both = fork(("maybe_guard", 1, 10, 100), ("maybe_guard", 2, 20, 200))
    assert costs([both]) == {"maybe_guard": (3, 30, 300)}


def test_a_table_is_aligned() -> None:
    assert table(("NAME", "N"), [("a", "10"), ("long", "2")]) == (
        "  NAME   N",
        "  a     10",
        "  long   2",
    )


def test_paragraphs_stay_in_80_columns() -> None:
    assert max(map(len, wrapped("word " * 100))) <= 80
