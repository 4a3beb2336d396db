"""What memory holds while code runs in the emulator: all that is no flags or anon_vma.

A decision that asks for more shows it, if only what more it asks for changes. Memory is
filled with pointers that lead somewhere, which let code run far; with anything and then
its opposite, so that no bit is always set or always clear; and with the very numbers
that the code holds, which it may compare something with by arithmetic.
"""

from __future__ import annotations

import random
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = 0x1000
NULL_END = 0x10000
"""Below it nothing is mapped: what follows a null pointer ends there."""
POINTED = 0x300_0000_0000
"""Where the pointers of VMAs and variables lead to."""
POINTED_SIZE = 0x10000
_FAR = 0x2000_0000_0000

_WORDS = PAGE // 8
_ALL = (1 << 64) - 1
_HALF = (1 << 32) - 1
_PAIRS = 2  # fillings with anything, and as many with the opposite, of each kind


class Filling(NamedTuple):
    """Pages that are repeated through memory.

    ``vmas``: the structures; ``pointed``: what their pointers lead to; ``variables``:
    the kernel's, the stack and the registers. ``wild``: pointers may lead anywhere.
    ``null``: what is pointed to holds only null pointers.
    """

    vmas: bytes
    pointed: bytes
    variables: bytes
    wild: bool = False
    null: bool = False


class _Words(NamedTuple):
    """Numbers from ``base`` on, below ``base + spread``, ``step`` apart."""

    base: int
    spread: int
    step: int = 1

    def page(self, source: random.Random) -> bytes:
        steps = self.spread // self.step
        return _page(
            self.base + self.step * source.randrange(steps) for _ in range(_WORDS)
        )


_ZEROS = _Words(0, 1)
_SMALL = _Words(0, NULL_END // 2)
_NEAR = _Words(POINTED + POINTED_SIZE // 4, POINTED_SIZE // 2, 8)
_NOWHERE = _Words(_FAR, 1 << 40)
_ANYTHING = _Words(0, 1 << 64)


def _page(words: Iterable[int]) -> bytes:
    return struct.pack(f"<{_WORDS}Q", *words)


def _opposite(page: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in page)


@lru_cache(maxsize=1)
def pointers() -> tuple[Filling, ...]:
    """Return fillings whose pointers lead somewhere, or are null."""
    fillings = []
    for number, (near, far) in enumerate(
        (
            (_ZEROS, _ZEROS),
            (_SMALL, _ZEROS),
            (_NEAR, _ZEROS),
            (_NEAR, _SMALL),
            (_NEAR, _NOWHERE),
            (_NEAR, _NOWHERE),
        )
    ):
        source = random.Random(number)
        vmas, pointed = near.page(source), far.page(source)
        variables = near.page(source)
        fillings.append(Filling(vmas, pointed, variables, null=far == _ZEROS))
    return tuple(fillings)


@lru_cache(maxsize=1)
def anything() -> tuple[Filling, ...]:
    """Return fillings with random words, each followed by one with their opposite."""
    source = random.Random(1)
    fillings = []
    for _ in range(_PAIRS):
        vmas, pointed, variables = (_ANYTHING.page(source) for _ in range(3))
        near = _NEAR.page(source)
        other, others = _opposite(pointed), _opposite(variables)
        fillings += [
            Filling(near, pointed, variables, wild=True),
            Filling(near, other, others, wild=True),
            Filling(vmas, pointed, variables, wild=True),
            Filling(_opposite(vmas), other, others, wild=True),
        ]
    return tuple(fillings)


def numbers(found: Iterable[int]) -> Iterator[Filling]:
    """Yield fillings with nothing but one of these numbers or of those around."""
    near = _NEAR.page(random.Random(1))
    around = {
        (sign * number + by) & _ALL
        for number in found
        for sign in (1, -1)
        for by in (-1, 0, 1)
    }
    for number in sorted(around):
        page = _page([number] * _WORDS)
        yield Filling(page, page, page, wild=True)
        # Variables of half the size may lie in either half of a word.
        half = number & _HALF
        halves = _page([half << 32 | half] * _WORDS)
        yield Filling(near, page, halves, wild=True, null=not number)
