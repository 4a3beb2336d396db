"""A program is linked to whatever descriptors its maps have in a process."""

from __future__ import annotations

import pytest

from forktrace.tracer.objects import Code

MOVE = bytes.fromhex("bf16000000000000")
WIDE_NUMBER = bytes.fromhex("1801000007000000 0000000000000000")
END = bytes.fromhex("9500000000000000")


def map_in(register: int, number: int) -> bytes:
    first = bytes([0x18, register | 1 << 4, 0, 0, number, 0, 0, 0])
    return first + bytes(8)


def test_maps_are_named_by_place_and_then_by_the_descriptors_of_another_process() -> (
    None
):
    compiled = MOVE + map_in(1, 7) + WIDE_NUMBER + map_in(2, 5) + map_in(1, 7) + END
    code = Code.unlinked(compiled, [5, 7])
    assert code.linked([5, 7]) == compiled
    assert code.linked([11, 12]) == (
        MOVE + map_in(1, 12) + WIDE_NUMBER + map_in(2, 11) + map_in(1, 12) + END
    )


def test_a_map_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="9"):
        Code.unlinked(map_in(1, 9), [5, 7])
