"""One decision to copy, in C: a function of two VMAs that copies, or returns 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.compilers.rules import Rule

HELPER = "needs_copy"
"""The function that kernels keep the decision in; with its decision's name before it."""


@dataclass(frozen=True)
class Shape:
    """``source`` defines the function ``NAME``, and perhaps ``NAME_needs_copy``.

    ``rule`` is what the flags decide; ``plain``: they and an anon_vma decide alone.
    ``kernels``: kernels are written so, the decoder may not refuse it.
    """

    name: str
    source: str
    rule: Rule
    plain: bool
    kernels: bool = False

    def function(self, number: int) -> tuple[str, str]:
        """Return the C function's name and its definition."""
        name = f"shape{number}"
        return name, self.source.replace("NAME", name)


Ending = Callable[[str], str]

SIGNATURE = "int NAME(V *dst, V *src)"

ENDINGS = {
    "call": "return copy_pages(dst, src);",
    "result": "return copy_pages(dst, src) ? -12 : 0;",
    "huge": "if (S & VM_HUGETLB) return copy_huge(dst, src);"
    " return copy_pages(dst, src);",
    "walk": "return walk(dst, src);",
    # The first instruction that only copying calls reach is the head of a loop.
    "loop": "while (copy_pages(dst, src) > 0); return 0;",
    "loop2": "do { copy_pages(dst, src); } while (copy_range(dst, src, 0, 0) > 0);"
    " return 0;",
}
"""What follows once it was decided to copy."""


def hexa(value: int) -> str:
    """Return a C constant of 64 bits."""
    return f"{value:#x}UL"


def condition(rule: Rule) -> str:
    """Return a C expression of the rule, without the anon_vma."""
    parts = [
        f"({side} & {hexa(mask)})"
        for side, mask in (("D", rule.dst), ("S", rule.src))
        if mask
    ]
    return " || ".join(parts)
