"""Rows of the program and bits of vm_flags name the same thing."""

from __future__ import annotations

from itertools import combinations

from forktrace.kernel.rule import Rule
from forktrace.tracer.macros import packed, trigger_bits

RULE = Rule({10: "dst", 12: "dst", 28: "src", 43: "dst"}, "table")


def c_value(expression: str, bits: int) -> int:
    """Evaluate the C expression of ROW_OF; its operators are Python's too."""
    return int(eval(expression, {"bits": bits}))


def test_each_subset_of_the_rules_bits_has_a_row_of_its_own() -> None:
    subsets = [
        sum(1 << bit for bit in chosen)
        for count in range(5)
        for chosen in combinations(RULE.bits, count)
    ]
    rows = [c_value(packed(RULE), bits) * 2 for bits in subsets]
    assert sorted(rows) == list(range(0, 32, 2))
    assert [trigger_bits(RULE, row) for row in rows] == subsets
    assert [trigger_bits(RULE, row + 1) for row in rows] == subsets


def test_a_rule_without_bits_has_one_pair_of_rows() -> None:
    assert c_value(packed(Rule({}, "table")), 0xFFFF) == 0
