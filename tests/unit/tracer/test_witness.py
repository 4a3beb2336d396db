"""Which witness is chosen, by what this kernel has."""

from __future__ import annotations

import pytest

from forktrace.errors import Unsupported
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import Reading, Rule
from forktrace.kernel.running import RunningKernel
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.tracer.witness import Witness, find_witness, require_witness


def kernel(*symbols: str, branches: tuple[int, ...] = ()) -> RunningKernel:
    return RunningKernel(
        release="7.3.4",
        machine="x86_64",
        reading=Reading(Rule({10: "dst"}, "code"), branches, reason="no code"),
        names=FlagNames(),
        symbols=Symbols({name: Symbol(name, 4096, 64) for name in symbols}),
    )


@pytest.mark.parametrize("name", ["vma_needs_copy", "vma_needs_copy.isra.0"])
def test_a_symbol_is_asked_for_its_return_value(name: str) -> None:
    assert find_witness(kernel(name, branches=(167,))) == Witness("return", name)


def test_without_a_symbol_each_way_into_the_copy_is_watched() -> None:
    assert find_witness(kernel(branches=(0xC9, 0x2B9))) == Witness(
        "branch", "copy_page_range", (0xC9, 0x2B9)
    )


def test_a_part_of_the_function_is_no_whole_witness() -> None:
    part = "vma_needs_copy.part.0"
    assert find_witness(kernel(part, branches=(167,))) == Witness(
        "branch", "copy_page_range", (167,)
    )
    assert find_witness(kernel(part)) == Witness("return", part)


def test_without_any_the_reason_is_told() -> None:
    assert find_witness(kernel()) is None
    with pytest.raises(Unsupported, match="no code"):
        require_witness(kernel())
