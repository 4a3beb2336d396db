"""What a compiler put elsewhere, as copy_page_range.cold, belongs to the decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forktrace.kernel.decision import Decision, Undecodable
from forktrace.kernel.decode import read_decision
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import Text, Unreadable
from tests.unit.kernel.fixtures import FROM_6_19

if TYPE_CHECKING:
    from collections.abc import Mapping

# ``if (!(dst->vm_flags & mask) && !src->anon_vma) return 0``, written by hand: the
# second jump, or else the first, leads to the part at 0x80.
SKIPS_THERE = (
    "48f74720001c0010750748837e4000746f4883ec08e8e60000004883c408c331c0c3",
    "e99affffff",  # back to where it returns 0
)
DECIDES_THERE = (
    "48f74720001c0010757648837e4000740e4883ec08e8e60000004883c408c331c0c3",
    "48833e05758beb97",  # ``if (dst->vm_flags & mask && *src == 5) return 0``
)


class FakeBtf:
    """Offsets alone: what ``read_decision`` asks of BTF."""

    def offset(self, struct: str, member: str, size: int) -> int:
        return {"vm_flags": 0x20, "anon_vma": 0x40}[member]


def kernel(hot: str, cold: str) -> dict[str, Text]:
    at = {"copy_page_range": (0x1000, hot), "copy_page_range.cold": (0x1080, cold)}
    return {
        name: Text(name, address, bytes.fromhex(code))
        for name, (address, code) in at.items()
    }


def read(texts: Mapping[str, Text], missing: str = "") -> Decision:
    def read_text(symbol: Symbol) -> Text:
        if symbol.name == missing:
            raise Unreadable("its address is hidden")
        return texts[symbol.name]

    symbols = Symbols(
        {t.name: Symbol(t.name, t.address, len(t.code)) for t in texts.values()}
    )
    return read_decision(FakeBtf(), symbols, "x86_64", read_text)  # type: ignore[arg-type]


def test_a_way_that_skips_may_lie_there() -> None:
    found = read(kernel(*SKIPS_THERE))
    assert found == Decision(FROM_6_19, (0x11,))


def test_what_decides_there_is_seen() -> None:
    """Taken for a call of something else, it would be a copy."""
    with pytest.raises(Undecodable, match="more than flags"):
        read(kernel(*DECIDES_THERE))


@pytest.mark.parametrize("parts", [SKIPS_THERE, DECIDES_THERE])
def test_a_part_that_cannot_be_read_is_refused_where_it_matters(
    parts: tuple[str, str],
) -> None:
    with pytest.raises(Undecodable, match="part of the code"):
        read(kernel(*parts), missing="copy_page_range.cold")


def test_a_part_that_cannot_be_read_and_is_not_needed_is_left_out() -> None:
    hot = SKIPS_THERE[0].replace("746f", "740e")
    found = read(kernel(hot, "cc"), missing="copy_page_range.cold")
    assert found == Decision(FROM_6_19, (0x11,))
