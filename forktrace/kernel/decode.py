"""The rule, found by running the machine code of copy_page_range.

The function is called in an emulator with two VMAs, hundreds of times: with each bit of
vm_flags in each VMA, with and without an anon_vma, and with random flags while
everything else that it could read changes. A call that returns 0 and does nothing else
skipped the VMA; a call that goes on copies it. The rule that these calls show is then
held against all of them, and against all that the code could have chosen otherwise. It
is right, or there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from forktrace.bits import MIXEDMAP, PFNMAP
from forktrace.errors import Unsupported
from forktrace.kernel import fillings
from forktrace.kernel.arch import Architecture, architecture
from forktrace.kernel.branches import Flow, find_branches
from forktrace.kernel.decision import RETURN_THUNKS, Decision, Undecodable
from forktrace.kernel.emulation import Emulator, Layout
from forktrace.kernel.study import PATCHED, Study
from forktrace.kernel.symbols import Symbols, is_cold
from forktrace.kernel.text import ReadText, Text, Unreadable
from forktrace.kernel.turns import hold_against_turns

if TYPE_CHECKING:
    from forktrace.kernel.btf import Btf


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
    parts = symbols.cold_parts("copy_page_range", "vma_needs_copy")
    # Where addresses are hidden a function is found by its calls, a part of it is not.
    with suppress(Unreadable):
        texts += [read_text(part) for part in parts]
    whole = len(parts) == sum(is_cold(text.name) for text in texts)
    try:
        layout = Layout(
            btf.offset("vm_area_struct", "vm_flags", 8),
            btf.offset("vm_area_struct", "anon_vma", 8),
        )
    except Unsupported as error:
        raise Undecodable(error.message) from None
    thunks = frozenset(s.address for n in RETURN_THUNKS if (s := symbols.get(n)))
    return decode(arch, texts, layout, thunks, symbols.name_at, read_text, whole=whole)


def decode(
    arch: Architecture,
    texts: Sequence[Text],
    layout: Layout,
    thunks: frozenset[int] = frozenset(),
    name_at: Callable[[int], str] = lambda _: "",
    read_text: ReadText | None = None,
    *,
    whole: bool = True,
) -> Decision:
    """Find the rule by running code, or raise Undecodable.

    ``texts`` are copy_page_range and the functions that it may have been split into,
    ``thunks`` the addresses of the kernel's return thunks; ``name_at`` looks up what
    function begins at an address, ``read_text`` reads more code. Not ``whole``: some
    parts of them are missing.
    """
    emulator = Emulator(arch, texts, layout, thunks)
    study = Study(emulator, name_at, whole=whole)
    study.find_a_skip(read_text)
    bits = study.single_bits()
    # Every kernel so far copies these two; code that seems not to was misread.
    if not {PFNMAP, MIXEDMAP} <= set(bits):
        raise Undecodable("the code asks for an implausible set of flags")
    study.anon_vmas()
    # First those whose pointers lead somewhere: they show where variables lie.
    for some in (fillings.pointers(), fillings.anything()):
        study.random_vmas(some)
        hold_against_turns(study, some)
    study.numbers(arch)
    function = texts[0]
    calls = [trial.call for trial in study.trials if not trial.astray]
    branches = find_branches(calls, function, Flow(arch, texts, emulator))
    # Code hidden behind someone's patch could decide otherwise, unless the patch
    # stands where the decision has been made.
    if not branches and any(call.patched for call in calls):
        raise Undecodable(PATCHED)
    return Decision(bits, tuple(at - function.address for at in branches))
