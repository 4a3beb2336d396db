"""The rule, found by running the machine code of copy_page_range.

The function is called in an emulator with two VMAs, hundreds of times: with each bit of
vm_flags in each VMA, with and without an anon_vma, and with random flags while
everything else that it could read changes. A call that returns 0 and does nothing else
skipped the VMA; a call that goes on copies it. The rule that these calls show is then
held against all of them, and against each conditional jump that only ever went one way.
It is right, or there is no answer.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forktrace.errors import Unsupported
from forktrace.kernel import flags
from forktrace.kernel.arch import Architecture, architecture
from forktrace.kernel.branches import Jumps, find_branches
from forktrace.kernel.decision import RETURN_THUNKS, Decision, Side, Undecodable
from forktrace.kernel.emulation import FILLS, Call, Emulator, Layout, Vmas
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import ReadText, Text

if TYPE_CHECKING:
    from forktrace.kernel.btf import Btf

_INSTRUMENTATION = (
    "__fentry__",
    "__sanitizer_cov_trace_",
    "__asan_load",
    "__asan_store",
    "__hwasan_load",
    "__hwasan_store",
    "__tsan_",
    "__kcsan_",
)
"""How functions begin whose calls compilers add, and which return nothing."""
_REPORTS = ("__asan_report_", "__hwasan_report_", "__ubsan_handle_")

_BITS = 64
_AT_ONCE = 8  # bits that are set together before each alone
_ANON_BITS = (0, 1, 2, 3, 7, 12, 15, 16, 24, 31, 32, 33, 40, 47, 48, 63)
_TRIALS = 32  # random calls with each filling
_FORCED = 6  # calls with each conditional jump sent the other way
_AROUND = 128  # bytes before and behind a return thunk's entry that belong to it
_GUARD = 8  # instructions within which a stack guard is loaded and compared

_PATCHED = "another tracer has patched the code of the decision"
_NO_SKIP = "the code holds no decision that returns 0 early"
_MORE = "the code decides by more than flags and anon_vma"


@dataclass(frozen=True)
class Trial:
    """One call: with which VMAs, how all else was filled, and what it did."""

    fill: int
    vmas: Vmas
    call: Call


def read_decision(
    btf: Btf | None,
    symbols: Symbols,
    machine: str,
    read_text: ReadText,
) -> Decision:
    """Read and run the running kernel's copy_page_range.

    Raises Undecodable, and ``text.Unreadable`` from ``read_text``.
    """
    arch = architecture(machine)
    if arch is None:
        raise Undecodable(f"there is no emulator for {machine}")
    if btf is None:
        raise Undecodable(
            "without BTF the offsets in struct vm_area_struct are unknown"
        )
    function = symbols.get("copy_page_range")
    if function is None:
        raise Undecodable("there is no symbol copy_page_range")
    texts = [
        read_text(symbol) for symbol in (function, *symbols.variants("vma_needs_copy"))
    ]
    try:
        layout = Layout(
            btf.offset("vm_area_struct", "vm_flags", 8),
            btf.offset("vm_area_struct", "anon_vma", 8),
        )
    except Unsupported as error:
        raise Undecodable(error.message) from None
    thunks = frozenset(s.address for n in RETURN_THUNKS if (s := symbols.get(n)))
    return decode(arch, texts, layout, thunks, symbols.name_at, read_text)


def decode(
    arch: Architecture,
    texts: Sequence[Text],
    layout: Layout,
    thunks: frozenset[int] = frozenset(),
    name_at: Callable[[int], str] = lambda _: "",
    read_text: ReadText | None = None,
) -> Decision:
    """Find the rule by running code, or raise Undecodable.

    ``texts`` are copy_page_range and the functions that it may have been split into,
    ``thunks`` the addresses of the kernel's return thunks; ``name_at`` looks up what
    function begins at an address, ``read_text`` reads more code.
    """
    emulator = Emulator(arch, texts, layout, thunks)
    study = _Study(emulator, name_at)
    study.find_a_skip(read_text)
    bits = study.single_bits()
    study.anon_vmas()
    study.random_vmas(bits)
    study.one_sided_jumps(arch)
    # Every kernel so far copies these two; code that seems not to was misread.
    if not {flags.PFNMAP, flags.MIXEDMAP} <= set(bits):
        raise Undecodable("the code asks for an implausible set of flags")
    function = texts[0]
    calls = [trial.call for trial in study.trials]
    branches = find_branches(calls, function, Jumps(arch, function, emulator))
    # Code hidden behind someone's patch could decide otherwise, unless the patch
    # stands where the decision has been made.
    if not branches and any(call.patched for call in calls):
        raise Undecodable(_PATCHED)
    return Decision(bits, tuple(at - function.address for at in branches))


class _Study:
    """Calls the function in ever new ways, and keeps what it did."""

    def __init__(
        self,
        emulator: Emulator,
        name_at: Callable[[int], str],
    ) -> None:
        self.trials: list[Trial] = []
        self._emulator = emulator
        self._name_at = name_at
        self._none = Vmas()
        self._source = random.Random(1)
        self._fill = 0

    def find_a_skip(self, read_text: ReadText | None) -> None:
        """Call it with nothing set, and find out what code belongs to that.

        Calls of instrumentation are stepped over; a jump out of the function may lead
        to a return thunk, which runs too.
        """
        left: set[int] = set()
        while not (call := self._emulator.call(self._none)).skipped:
            outside = call.left_for
            if outside is None or outside in left:
                raise Undecodable(_PATCHED if call.patched else _NO_SKIP)
            left.add(outside)
            if self._name(call).startswith(_INSTRUMENTATION):
                self._emulator.stepped_over.add(outside)
            elif call.patched and read_text:
                around = Symbol("", outside - _AROUND, 2 * _AROUND)
                self._emulator.add(read_text(around))
            else:
                raise Undecodable(_PATCHED if call.patched else _NO_SKIP)

    def single_bits(self) -> dict[int, Side]:
        """Return the bits that force a copy, each set alone."""
        dst = self._forcing(lambda bits: self._copies(dst_flags=bits))
        src = self._forcing(lambda bits: self._copies(src_flags=bits))
        if dst & src:
            raise Undecodable("the code asks for an implausible set of flags")
        others = sum(1 << bit for bit in range(_BITS) if bit not in dst | src)
        if self._copies(dst_flags=others, src_flags=others):
            raise Undecodable("the code asks for several flags at once")
        sides: dict[int, Side] = {
            bit: "dst" if bit in dst else "src" for bit in dst | src
        }
        return dict(sorted(sides.items()))

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
            raise Undecodable(_MORE)
        if self._copies(dst_anon=1 << 12):
            raise Undecodable("the code asks for the child's anon_vma")

    def random_vmas(self, bits: Mapping[int, Side]) -> None:
        """Hold the rule against random VMAs while all else changes."""
        source = self._source
        masks = {
            side: sum(1 << bit for bit, asked in bits.items() if asked == side)
            for side in ("dst", "src")
        }
        for fill in range(FILLS):
            self._refill(fill)
            for vmas in _random_vmas(source, masks["dst"], masks["src"], self._none):
                expected = bool(
                    vmas.dst_flags & masks["dst"]
                    or vmas.src_flags & masks["src"]
                    or vmas.src_anon
                )
                if self._try(vmas).skipped == expected:
                    raise Undecodable(_MORE)

    def one_sided_jumps(self, arch: Architecture) -> None:
        """Send each conditional jump that always went one way the other way.

        What then happens differently would depend on something that no call changed.
        """
        for at, other in self._one_sided(arch):
            passed = [trial for trial in self.trials if at in trial.call.trace]
            for trial in self._source.sample(passed, min(_FORCED, len(passed))):
                self._refill(trial.fill)
                forced = self._emulator.call(trial.vmas, {at: other})
                if forced.skipped != trial.call.skipped and not (
                    # Names are looked up in some megabytes of text.
                    self._compares_again(trial, at) or self._reports(forced)
                ):
                    raise Undecodable(_MORE)

    def _one_sided(self, arch: Architecture) -> list[tuple[int, int]]:
        """Return (address, target never gone to) of such jumps."""
        gone: dict[int, set[int]] = defaultdict(set)
        for trial in self.trials:
            trace = trial.call.trace
            for at, following in zip(trace, trace[1:]):
                gone[at].add(following)
        found = []
        for at, targets in gone.items():
            ways = arch.branch(self._emulator.instruction(at), at)
            if ways and len(targets) == 1 and len(set(ways)) == 2:
                (other,) = set(ways) - targets
                found.append((at, other))
        return found

    def _compares_again(self, trial: Trial, at: int) -> bool:
        """Tell whether a jump asks if a variable is as it was a moment before.

        So does the check of the stack's guard as a function returns. It goes the other
        way when the kernel's variables change shortly before it.
        """
        trace = trial.call.trace
        index = trace.index(at)
        for place in trace[max(0, index - _GUARD) : index]:
            disturbed = self._emulator.call(trial.vmas, disturb=place).trace
            came = disturbed[: index + 1] == trace[: index + 1]
            if came and disturbed[index + 1 :][:1] != trace[index + 1 :][:1]:
                return True
        return False

    def _reports(self, call: Call) -> bool:
        """Tell whether it ended by reporting a fault of the kernel's own."""
        return call.trapped or self._name(call).startswith(_REPORTS)

    def _name(self, call: Call) -> str:
        return "" if call.left_for is None else self._name_at(call.left_for)

    def _copies(self, **vmas: int) -> bool:
        return not self._try(self._none._replace(**vmas)).skipped

    def _try(self, vmas: Vmas) -> Call:
        call = self._emulator.call(vmas)
        self.trials.append(Trial(self._fill, vmas, call))
        return call

    def _refill(self, fill: int) -> None:
        if fill != self._fill:
            self._emulator.fill(fill)
            self._fill = fill


def _random_vmas(
    source: random.Random, dst_mask: int, src_mask: int, none: Vmas
) -> Iterator[Vmas]:
    """Yield VMAs half of which have no bit of the masks, and few an anon_vma."""

    def some() -> int:
        # Sparse and dense ones.
        dense = source.getrandbits(_BITS)
        return dense if source.random() < 0.5 else dense & source.getrandbits(_BITS)

    for number in range(_TRIALS):
        src = some()
        dst = src & some() if number % 4 < 2 else some()
        if number % 2:
            src, dst = src & ~src_mask, dst & ~dst_mask
        anon = source.getrandbits(_BITS) if number % 8 == 7 else 0
        yield none._replace(
            dst_flags=dst,
            src_flags=src,
            src_anon=anon,
            dst_anon=source.choice((0, anon, source.getrandbits(_BITS))),
        )
