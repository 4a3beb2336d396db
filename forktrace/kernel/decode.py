"""The rule, proved from the machine code of copy_page_range.

An interpreter of one architecture follows every path from the function's entry on
which all conditions are questions about vm_flags and anon_vma, until the function
returns 0 (nothing copied) or does something else (calls, loops, stores). From those
paths follows the set of bits that must all be clear for nothing to be copied, and it
is certain or there is no answer: each path that goes on must have seen one of these
bits set, each path that returns 0 must have seen them all clear.

capstone disassembles. It is imported only while decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from forktrace.errors import Unsupported
from forktrace.kernel import flags, lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from forktrace.kernel.btf import Btf
    from forktrace.kernel.symbols import Symbols

Side = Literal["dst", "src"]

RETURN_THUNKS = (
    "__x86_return_thunk",
    "retbleed_return_thunk",
    "srso_return_thunk",
    "srso_alias_return_thunk",
    "its_return_thunk",
    "call_depth_return_thunk",
)
"""What a ``ret`` may have been patched into, arch/x86/kernel/alternative.c."""

_PATCHED = "another tracer has patched the code of the decision"
_ANON_VMA = lanes.Atom("src", "anon_vma", lanes.ANY)


class Undecodable(Exception):
    """Why the code does not tell the rule, in a few words."""


@dataclass(frozen=True)
class Decision:
    """The decision to copy as proved from the code.

    ``bits`` maps bit numbers to the VMA that is asked. ``branches`` are offsets into
    copy_page_range, in bytes: of these instructions one runs, once, when the kernel
    decided to copy, and none otherwise. Mostly it is a single one; none when there are
    no such places.
    """

    bits: Mapping[int, Side]
    branches: tuple[int, ...]


@dataclass(frozen=True)
class Text:
    """One function's machine code and where it lies in the kernel."""

    name: str
    address: int
    code: bytes

    def __contains__(self, address: int) -> bool:
        """Tell whether ``address`` lies in the function."""
        return 0 <= address - self.address < len(self.code)


@dataclass(frozen=True)
class Layout:
    """Offsets in struct vm_area_struct, in bytes."""

    vm_flags: int
    anon_vma: int


@dataclass(frozen=True)
class Path:
    """One way through the code.

    ``trace`` holds the addresses of its instructions inside copy_page_range, in order.
    ``clear`` are the atoms found clear on the way, ``found`` the questions answered
    yes: one atom at least of each set is set. ``skips``: it ends by returning 0.
    ``patched``: it ends at a breakpoint or a jump that someone put there. ``exits``
    are the addresses where it may go on.
    """

    trace: tuple[int, ...]
    clear: frozenset[lanes.Atom]
    found: tuple[frozenset[lanes.Atom], ...]
    skips: bool = False
    patched: bool = False
    exits: tuple[int, ...] = ()


def read_decision(
    btf: Btf | None,
    symbols: Symbols,
    machine: str,
    read_text: Callable[[int, int], bytes],
) -> Decision:
    """Read and decode the running kernel's copy_page_range.

    Raises Undecodable, and ``text.Unreadable`` from ``read_text(address, size)``.
    """
    if machine != "x86_64":
        raise Undecodable(f"there is no decoder for {machine}")
    if btf is None:
        raise Undecodable(
            "without BTF the offsets in struct vm_area_struct are unknown"
        )
    function = symbols.get("copy_page_range")
    if function is None:
        raise Undecodable("there is no symbol copy_page_range")
    texts = [
        Text(symbol.name, symbol.address, read_text(symbol.address, symbol.size))
        for symbol in (function, *symbols.variants("vma_needs_copy"))
    ]
    try:
        layout = Layout(
            btf.offset("vm_area_struct", "vm_flags", 8),
            btf.offset("vm_area_struct", "anon_vma", 8),
        )
    except Unsupported as error:
        raise Undecodable(error.message) from None
    thunks = frozenset(s.address for n in RETURN_THUNKS if (s := symbols.get(n)))
    return decode(texts[0], layout, texts[1:], thunks)


def decode(
    function: Text,
    layout: Layout,
    callees: Sequence[Text] = (),
    thunks: frozenset[int] = frozenset(),
) -> Decision:
    """Prove the rule from x86-64 code, or raise Undecodable.

    ``callees`` are functions that ``function`` may have been split into, ``thunks``
    the addresses of the kernel's return thunks.
    """
    try:
        # Here and not above: the module maps capstone, and imports this one.
        from forktrace.kernel.x86.interpreter import Interpreter  # noqa: PLC0415
    except ImportError:
        raise Undecodable("the Python package capstone is missing") from None
    machine = Interpreter(function, layout, callees, thunks)
    paths = machine.paths()
    patches = {path.trace[-1] for path in paths if path.patched}
    try:
        bits = _prove(paths)
    except Undecodable:
        if patches:
            raise Undecodable(_PATCHED) from None
        raise
    branches = _branches(paths, machine.jumps())
    # Code hidden behind someone's patch could decide otherwise, unless the patch
    # stands where the decision has been made.
    if not patches <= set(branches):
        raise Undecodable(_PATCHED)
    return Decision(bits, tuple(at - function.address for at in branches))


def _prove(paths: Sequence[Path]) -> dict[int, Side]:
    """Return the bits that force a copy, or raise Undecodable."""
    skipping = [path for path in paths if path.skips]
    copying = [path for path in paths if not path.skips]
    if not skipping or not copying:
        raise Undecodable("the code holds no decision that returns 0 early")
    mask = frozenset.intersection(*(path.clear for path in skipping))
    for path in copying:
        if not any(found - path.clear <= mask for found in path.found):
            raise Undecodable("the code decides by more than flags and anon_vma")
    tail = {at for path in skipping for at in path.trace}
    tail -= {at for path in copying for at in path.trace}
    if any(exit_ in tail for path in copying for exit_ in path.exits):
        raise Undecodable("the code decides by more than flags and anon_vma")
    return _as_bits(mask)


def _as_bits(mask: frozenset[lanes.Atom]) -> dict[int, Side]:
    if _ANON_VMA not in mask:
        raise Undecodable("the code does not ask for an anon_vma")
    asked = sorted((a.bit, a.side) for a in mask if a != _ANON_VMA)
    bits: dict[int, Side] = {
        bit: "dst" if side == "dst" else "src" for bit, side in asked
    }
    # Every kernel so far copies these two; code that seems not to was misread.
    if len(bits) != len(asked) or not {flags.PFNMAP, flags.MIXEDMAP} <= set(bits):
        raise Undecodable("the code asks for an implausible set of flags")
    return bits


def _branches(paths: Sequence[Path], jumps: Mapping[int, int]) -> tuple[int, ...]:
    """Return addresses of which every copying path runs one, once, and no other any.

    ``jumps`` maps the address of each direct jump of the function to its target.
    """
    copying = [path.trace for path in paths if not path.skips]
    skipped = {at for path in paths if path.skips for at in path.trace}
    ways = [[at for at in trace if at not in skipped] for trace in copying]
    if not all(ways):
        return ()
    shared = set.intersection(*map(set, ways))
    # Where compilers know more on one way to the copy than on the other, the ways do
    # not meet again (6.12 asks for PFNMAP only after a bit was found): take each.
    first = next((at for at in ways[0] if at in shared), None)
    found = {first} if first is not None else {way[0] for way in ways}
    once = all(sum(at in found for at in trace) == 1 for trace in copying)
    before = {at for trace in copying for at in _until(trace, found)}
    comes_back = any(
        target in found and source not in before for source, target in jumps.items()
    )
    return () if comes_back or not once else tuple(sorted(found))


def _until(trace: Sequence[int], ends: set[int]) -> Iterator[int]:
    return takewhile(lambda at: at not in ends, trace)
