"""The algebra of half-known bits says nothing that could be false."""

from __future__ import annotations

from itertools import product

import pytest

from forktrace.kernel import lanes
from forktrace.kernel.lanes import ANY, ONE, WIDTH, ZERO, Atom, Bits, Lane, MaybeLane

A, B = Atom("src", "vm_flags", 1), Atom("dst", "vm_flags", 2)
LANES: list[MaybeLane] = [
    None,
    *(
        Lane(negated, frozenset(atoms))
        for negated in (False, True)
        for atoms in ((), (A,), (B,), (A, B))
    ),
]
WORLDS = [frozenset(w) for w in ((), (A,), (B,), (A, B))]


def truth(lane: Lane, world: frozenset[Atom]) -> bool:
    return bool(lane.atoms & world) != lane.negated


@pytest.mark.parametrize(
    ("operation", "meaning"),
    [
        (lanes.both, lambda a, b: a and b),
        (lanes.either, lambda a, b: a or b),
        (lanes.differ, lambda a, b: a != b),
    ],
)
def test_what_is_said_of_two_lanes_holds_in_every_world(operation, meaning) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    said = 0
    for a, b in product(LANES, LANES):
        result = operation(a, b)
        if result is None or a is None or b is None:
            assert result in (None, ZERO, ONE)
            continue
        said += 1
        for world in WORLDS:
            expected = meaning(truth(a, world), truth(b, world))
            assert truth(result, world) == expected
    assert said > 30


def test_numbers_survive() -> None:
    for number in (0, 1, 0x80010001C00, 2**64 - 1):
        assert lanes.number_of(lanes.constant(number)) == number
    assert lanes.number_of(lanes.constant(-1), 32) == 2**32 - 1
    assert lanes.number_of(lanes.unknown()) is None


def test_two_unknowns_are_not_equal() -> None:
    assert lanes.unknown() != lanes.unknown()


def anon_vma(bits: range) -> tuple[MaybeLane, ...]:
    return tuple(
        Lane(False, frozenset([Atom("src", "anon_vma", i)])) if i in bits else ZERO
        for i in range(WIDTH)
    )


def test_a_pointer_is_null_when_all_its_bits_are_clear() -> None:
    whole = frozenset([Atom("src", "anon_vma", ANY)])
    assert lanes.nonzero(anon_vma(range(WIDTH))) == Lane(False, whole)


def test_some_bits_of_a_pointer_say_nothing() -> None:
    assert lanes.nonzero(anon_vma(range(32))) is None


def test_low_clears_the_rest() -> None:
    value = lanes.low(Bits((ONE,) * WIDTH), 8)
    assert lanes.number_of(value) == 0xFF
