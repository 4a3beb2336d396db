"""What a register can be known to hold while the decision is read from code.

A value is known bit by bit (``Bits``), or as an address inside one of the two VMAs or
the stack (``Pointer``), or only by where it came from (``Opaque``). A bit is a
``Lane``: a constant, or whether any of some atoms is set, or the contrary, or unknown
(None). An atom is one bit of a VMA's vm_flags or anon_vma: what the kernel decides by.
"""

from __future__ import annotations

from typing import NamedTuple, Union

WIDTH = 64


class Atom(NamedTuple):
    """Bit ``bit`` of field ``field`` of the VMA ``side``.

    ``bit`` is ANY where a whole field is asked whether it is zero.
    """

    side: str
    field: str
    bit: int


ANY = -1


class Lane(NamedTuple):
    """True when any of ``atoms`` is set; the contrary when ``negated``."""

    negated: bool
    atoms: frozenset[Atom]


ZERO = Lane(False, frozenset())
ONE = Lane(True, frozenset())
MaybeLane = Union[Lane, None]
"""A lane, or None for a bit that is not known."""


class Bits(NamedTuple):
    """A 64-bit value, lowest bit first."""

    lanes: tuple[MaybeLane, ...]


class Pointer(NamedTuple):
    """An address: ``offset`` bytes into ``base`` ("dst", "src", "stack", ...)."""

    base: str
    offset: int


class Opaque(NamedTuple):
    """A value known only by its origin: two of the same origin are equal."""

    origin: object


Value = Union[Bits, Pointer, Opaque]


def unknown() -> Opaque:
    """Return a value that nothing is known about, equal to itself alone."""
    return Opaque(object())


def constant(number: int) -> Bits:
    """Return a known number, modulo 2^64."""
    return Bits(tuple(ONE if number >> i & 1 else ZERO for i in range(WIDTH)))


def number_of(value: Value, width: int = WIDTH) -> int | None:
    """Return the low ``width`` bits as a number if every bit is constant, else None."""
    if not isinstance(value, Bits) or any(
        lane is None or lane.atoms for lane in value.lanes[:width]
    ):
        return None
    return sum(lane == ONE and 1 << i for i, lane in enumerate(value.lanes[:width]))


def lanes_of(value: Value) -> tuple[MaybeLane, ...]:
    """Return the bits of any value; those of an address are not known."""
    return value.lanes if isinstance(value, Bits) else (None,) * WIDTH


def low(value: Value, width: int) -> Value:
    """Return the value with all bits from ``width`` on cleared."""
    if width == WIDTH:
        return value
    return Bits(lanes_of(value)[:width] + (ZERO,) * (WIDTH - width))


def both(a: MaybeLane, b: MaybeLane) -> MaybeLane:
    """Return a AND b."""
    if ZERO in (a, b):
        return ZERO
    if a in (ONE, b):
        return b
    if b == ONE:
        return a
    if a and b and a.negated and b.negated:
        return Lane(True, a.atoms | b.atoms)
    return None


def contrary(a: MaybeLane) -> MaybeLane:
    """Return NOT a."""
    return Lane(not a.negated, a.atoms) if a else None


def either(a: MaybeLane, b: MaybeLane) -> MaybeLane:
    """Return a OR b."""
    return contrary(both(contrary(a), contrary(b)))


def differ(a: MaybeLane, b: MaybeLane) -> MaybeLane:
    """Return a XOR b."""
    if a is None or b is None:
        return None
    if a.atoms == b.atoms:
        return ZERO if a.negated == b.negated else ONE
    if not a.atoms:
        return contrary(b) if a.negated else b
    if not b.atoms:
        return contrary(a) if b.negated else a
    return None


def choose(when: MaybeLane, a: MaybeLane, b: MaybeLane) -> MaybeLane:
    """Return ``a`` when ``when`` is true, else ``b``."""
    if a == b:
        return a
    return either(both(when, a), both(contrary(when), b))


def nonzero(lanes: tuple[MaybeLane, ...]) -> MaybeLane:
    """Tell whether any bit is set.

    Part of an anon_vma's bits says nothing about the whole: a pointer may have them
    all clear.
    """
    if ONE in lanes:
        return ONE
    answer: MaybeLane = ZERO
    for lane in lanes:
        answer = either(answer, lane)
    return _whole_fields(answer)


def _whole_fields(lane: MaybeLane) -> MaybeLane:
    """Replace all 64 bits of an anon_vma by one atom; None if some are missing."""
    if lane is None:
        return None
    parts = {a for a in lane.atoms if a.field == "anon_vma" and a.bit != ANY}
    if not parts:
        return lane
    sides = {a.side for a in parts}
    if len(parts) != WIDTH * len(sides):
        return None
    whole = {Atom(side, "anon_vma", ANY) for side in sides}
    return Lane(lane.negated, (lane.atoms - parts) | whole)
