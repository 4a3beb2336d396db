"""Calls the function in ever new ways, and holds what it does against one rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from forktrace.kernel import fillings
from forktrace.kernel.decision import INSTRUMENTATION, REPORTS, Undecodable
from forktrace.kernel.emulation import Call, Vmas
from forktrace.kernel.fillings import Filling
from forktrace.kernel.symbols import Symbol

if TYPE_CHECKING:
    from forktrace.kernel.arch import Architecture
    from forktrace.kernel.decision import Side
    from forktrace.kernel.emulation import Emulator
    from forktrace.kernel.text import ReadText

PATCHED = "another tracer has patched the code of the decision"
MORE = "the code decides by more than flags and anon_vma"
_NO_SKIP = "the code holds no decision that returns 0 early"
_IMPLAUSIBLE = "the code asks for an implausible set of flags"

_BITS = 64
_AT_ONCE = 8  # bits that are set together before each alone
_AN_ANON = 1 << 12
_ANON_BITS = (0, 1, 2, 3, 7, 12, 15, 16, 24, 31, 32, 33, 40, 47, 48, 63)
_TRIALS = 32  # random calls with each filling
_AROUND = 128  # bytes before and behind a return thunk's entry that belong to it


class Masks(NamedTuple):
    """The rule: the bits of each VMA's flags any of which forces a copy."""

    dst: int
    src: int

    def copies(self, vmas: Vmas) -> bool:
        """Tell whether the VMA is copied."""
        asked = vmas.dst_flags & self.dst | vmas.src_flags & self.src
        return bool(asked | vmas.src_anon)


class Trial(NamedTuple):
    """One call: how all else was filled, with which VMAs, and what it did."""

    filling: Filling
    vmas: Vmas
    call: Call

    @property
    def astray(self) -> bool:
        """Tell whether it shows nothing: a pointer led anywhere."""
        return self.filling.wild and self.call.lost

    def contradicts(self, rule: Masks, *, turned: bool = False) -> bool:
        """Tell whether the rule foretells something else.

        A walk of page tables that do not exist returns an error, once it has asked both
        processes where they are. So may one that was turned.
        """
        call = self.call
        if not rule.copies(self.vmas):
            return not (call.skipped or self.astray)
        walks = call.followed > 1 and (turned or self.filling.null)
        return call.result is not None and not (call.result and walks)


class Study:
    """All calls so far, and the rule that they show."""

    def __init__(
        self,
        emulator: Emulator,
        name_at: Callable[[int], str],
        *,
        whole: bool = True,
    ) -> None:
        self.trials: list[Trial] = []
        self.rule = Masks(0, 0)
        self.emulator = emulator
        self._name_at = name_at
        self._whole = whole
        self._source = random.Random(1)
        self._filling = fillings.pointers()[0]

    def find_a_skip(self, read_text: ReadText | None) -> None:
        """Call it with nothing set, and find out what code belongs to that.

        A jump out of the function may lead to a return thunk, which runs too.
        """
        left: set[int] = set()
        while not (call := self.call(Vmas())).skipped:
            outside = call.left_for
            if outside is None or outside in left or not (call.patched and read_text):
                raise Undecodable(PATCHED if call.patched else _NO_SKIP)
            left.add(outside)
            around = Symbol("", outside - _AROUND, 2 * _AROUND)
            self.emulator.add(read_text(around))

    def single_bits(self) -> dict[int, Side]:
        """Return the bits that force a copy, each set alone: they are the rule."""
        dst = self._forcing(lambda bits: self._copies(dst_flags=bits))
        src = self._forcing(lambda bits: self._copies(src_flags=bits))
        if dst & src:
            raise Undecodable(_IMPLAUSIBLE)
        others = sum(1 << bit for bit in range(_BITS) if bit not in dst | src)
        if self._copies(dst_flags=others, src_flags=others):
            raise Undecodable("the code asks for several flags at once")
        self.rule = Masks(
            sum(1 << bit for bit in dst),
            sum(1 << bit for bit in src),
        )
        return {bit: "dst" if bit in dst else "src" for bit in sorted(dst | src)}

    @staticmethod
    def _forcing(copies: Callable[[int], bool]) -> set[int]:
        """Return the bits that force a copy alone; few do, so first some at once."""
        return {
            bit
            for first in range(0, _BITS, _AT_ONCE)
            if copies(((1 << _AT_ONCE) - 1) << first)
            for bit in range(first, first + _AT_ONCE)
            if copies(1 << bit)
        }

    def anon_vmas(self) -> None:
        """Check that an anon_vma of the parent's VMA forces a copy, and no other."""
        answers = {self._copies(src_anon=1 << bit) for bit in _ANON_BITS}
        if answers == {False}:
            raise Undecodable("the code does not ask for an anon_vma")
        if False in answers:
            raise Undecodable(MORE)
        if self._copies(dst_anon=_AN_ANON):
            raise Undecodable("the code asks for the child's anon_vma")
        if any(trial.contradicts(self.rule) for trial in self.trials):
            raise Undecodable(MORE)

    def random_vmas(self, some: Iterable[Filling]) -> None:
        """Hold the rule against random VMAs while all else changes."""
        for filling in some:
            count = _TRIALS // 4 if filling.wild else _TRIALS
            self.hold(filling, _random_vmas(self._source, self.rule, count))

    def numbers(self, arch: Architecture) -> None:
        """Hold the rule against memory that holds nothing but a number in the code."""
        ran = sorted({at for trial in self.trials for at in trial.call.trace})
        found = arch.numbers(self.emulator.instruction(at) for at in ran)
        none, *_, anon, others = self.samples()
        for filling in fillings.numbers(found):
            self.hold(filling, (none, anon, others))

    def samples(self) -> list[Vmas]:
        """Return VMAs of each kind: without anything, with one reason, all but one."""
        bits = [1 << bit for bit in range(_BITS)]
        dst, src = self.rule
        all_else = {"dst_flags": ~dst & sum(bits), "src_flags": ~src & sum(bits)}
        return [
            Vmas(),
            *(Vmas(dst_flags=bit) for bit in bits if bit & dst),
            *(Vmas(src_flags=bit) for bit in bits if bit & src),
            Vmas(src_anon=_AN_ANON),
            Vmas(dst_anon=_AN_ANON, **all_else),
        ]

    def hold(self, filling: Filling, vmas: Iterable[Vmas]) -> None:
        """Hold the rule against more VMAs."""
        self.refill(filling)
        for each in vmas:
            if self._try(each).contradicts(self.rule):
                raise Undecodable(MORE)

    def call(
        self, vmas: Vmas, turned: Collection[int] = (), disturb: int | None = None
    ) -> Call:
        """Call the function; calls of instrumentation in it are stepped over.

        Where not the whole of it is known, what jumps elsewhere may still decide.
        """
        while True:
            call = self.emulator.call(vmas, turned, disturb)
            if call.strayed and not self._whole:
                raise Undecodable("a part of the code cannot be read")
            outside = call.left_for
            if outside is None or outside in self.emulator.stepped_over:
                return call
            if not self.name(call).startswith(INSTRUMENTATION):
                return call
            self.emulator.stepped_over.add(outside)

    def reports(self, call: Call) -> bool:
        """Tell whether it ended by reporting a fault of the kernel's own."""
        return call.trapped or self.name(call).startswith(REPORTS)

    def name(self, call: Call) -> str:
        """Return the name of the function that it left for."""
        return "" if call.left_for is None else self._name_at(call.left_for)

    def refill(self, filling: Filling) -> None:
        """Fill memory, unless it is."""
        if filling is not self._filling:
            self.emulator.fill(filling)
            self._filling = filling

    def _copies(self, **vmas: int) -> bool:
        return not self._try(Vmas(**vmas)).call.skipped

    def _try(self, vmas: Vmas) -> Trial:
        trial = Trial(self._filling, vmas, self.call(vmas))
        self.trials.append(trial)
        return trial


def _random_vmas(source: random.Random, rule: Masks, count: int) -> Iterator[Vmas]:
    """Yield VMAs half of which have no bit of the masks, and few an anon_vma."""

    def some() -> int:
        # Sparse and dense ones.
        dense = source.getrandbits(_BITS)
        return dense if source.random() < 0.5 else dense & source.getrandbits(_BITS)

    for number in range(count):
        src = some()
        dst = src & some() if number % 4 < 2 else some()
        if number % 2:
            src, dst = src & ~rule.src, dst & ~rule.dst
        anon = source.getrandbits(_BITS) if number % 8 == 7 else 0
        yield Vmas(
            dst_flags=dst,
            src_flags=src,
            src_anon=anon,
            dst_anon=source.choice((0, anon, source.getrandbits(_BITS))),
        )
