"""Runs kernel functions that take two VMAs, in an emulator, to see what they do.

Nothing here knows what an instruction means: Unicorn executes them. A call ends when
it returns, or when it does what a mere decision does not: it calls another function,
writes outside of its stack, or follows a pointer out of what a VMA points to.
"""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import unicorn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forktrace.kernel.arch import Architecture
    from forktrace.kernel.text import Text

_PAGE = 0x1000
_LONGEST = 400
"""Instructions after which a call counts as going on."""

# Where things lie in the emulator. The kernel's text moves to _TEXT, so that what it
# addresses relative to itself, and per-CPU variables, lie between the null page and
# _GLOBALS_END.
_NULL_END = 0x10000
_RETURN = 0x20000
_TLS = 0x4_0000_0000
_TEXT = 0x8_0000_0000
_GLOBALS_END = 0x10_0000_0000
_STACK, _VMAS, _POINTED = (0x100_0000_0000 * n for n in (1, 2, 3))
_FAR = 0x2000_0000_0000
_STACK_SIZE = 0x10000
_POINTED_SIZE = 0x10000
_DST, _SRC = 0x400, 0x800  # into the page of the VMAs

# x86-64 in Unicorn has 52 bits of address: kernel addresses come cut to them.
_CUT = (1 << 52) - 1
_KERNEL_HALF = 1 << 51
_KERNEL_IMAGE = _CUT - (1 << 32)  # what absolute 32-bit addresses reach


class _Words(NamedTuple):
    """Numbers from ``base`` on, below ``base + spread``, ``step`` apart."""

    base: int
    spread: int
    step: int = 1


_ZEROS = _Words(0, 1)
_SMALL = _Words(0, _NULL_END // 2)
_NEAR = _Words(_POINTED + _POINTED_SIZE // 4, _POINTED_SIZE // 2, 8)
_NOWHERE = _Words(_FAR, 1 << 40)

# What a VMA, the stack and the kernel's variables hold, and what their pointers lead
# to. Following a null pointer or one to nowhere ends a call.
_FILLS = (
    (_ZEROS, _ZEROS),
    (_SMALL, _ZEROS),
    (_NEAR, _ZEROS),
    (_NEAR, _SMALL),
    (_NEAR, _NOWHERE),
    (_NEAR, _NOWHERE),
)
FILLS = len(_FILLS)


@lru_cache(maxsize=FILLS)
def _filling(number: int) -> tuple[bytes, bytes, bytes]:
    """Return what fills the VMAs' page, what they point to, and all else."""
    near, far = _FILLS[number]
    source = random.Random(number)

    def page(words: _Words) -> bytes:
        steps = words.spread // words.step
        some = [words.base + words.step * source.randrange(steps) for _ in range(512)]
        return struct.pack("<512Q", *some)

    return page(near), page(far), page(near)


class Layout(NamedTuple):
    """Offsets in struct vm_area_struct, in bytes."""

    vm_flags: int
    anon_vma: int


class Vmas(NamedTuple):
    """What the function is called with: vm_flags and anon_vma of both VMAs."""

    dst_flags: int = 0
    src_flags: int = 0
    dst_anon: int = 0
    src_anon: int = 0


@dataclass(frozen=True)
class Call:
    """What one call did.

    ``trace`` holds the kernel addresses of its instructions, in order. ``skipped``: it
    returned 0 and did nothing else. ``left_for`` is the function that it called or
    jumped to. ``patched``: it ended at a breakpoint or a jump out of the code.
    ``trapped``: it ended at an instruction that nobody executes on purpose.
    """

    trace: tuple[int, ...]
    skipped: bool
    left_for: int | None = None
    patched: bool = False
    trapped: bool = False


class _Stop(NamedTuple):
    """Why the emulator stopped: at which address of the kernel, if it left the code."""

    left_for: int | None = None


class Emulator:
    """The functions ``texts``, the first of which is called.

    ``thunks`` are the addresses of the kernel's return thunks, ``stepped_over`` those
    of functions whose calls change nothing.
    """

    def __init__(
        self,
        arch: Architecture,
        texts: Sequence[Text],
        layout: Layout,
        thunks: frozenset[int] = frozenset(),
    ) -> None:
        self.stepped_over: set[int] = set()
        self._arch = arch
        self._texts: list[Text] = []
        self._layout = layout
        self._thunks = thunks
        first = texts[0].address
        self._shift = _TEXT + first % _PAGE - first
        self._uc = arch.machine()
        self._code: dict[int, int] = {}
        self._measuring = False
        self._trace: list[int] = []
        self._stop: _Stop | None = None
        self._force: Mapping[int, int] = {}
        self._disturb: int | None = None
        self._globals: set[int] = set()
        self._tile = bytes(_PAGE)
        self._vmas = bytearray()
        self._map()
        for text in texts:
            self.add(text)
        self.fill(0)

    def instruction(self, address: int) -> bytes:
        """Return the bytes of an instruction that was executed."""
        size = self._code[address]
        text = next(text for text in self._texts if text.holds(address))
        at = address - text.address
        return text.code[at : at + size]

    def starts(self) -> set[int]:
        """Return where the instructions of the first function begin, run or not."""
        text = self._texts[0]
        at, starts = text.address, set()
        self._measuring, self._trace = True, []
        while text.holds(at):
            starts.add(at)
            self._code.pop(at, None)
            with suppress(unicorn.UcError):
                self._uc.emu_start(at + self._shift, _RETURN)
            at += self._code.get(at, 1)
        self._measuring = False
        return starts

    def fill(self, number: int) -> None:
        """Give every byte but flags and anon_vma another value: one of FILLS ways."""
        vmas, pointed, self._tile = _filling(number)
        self._vmas = bytearray(vmas)
        self._uc.mem_write(_POINTED, pointed * (_POINTED_SIZE // _PAGE))
        self._uc.mem_write(_STACK, self._tile * (_STACK_SIZE // _PAGE))
        self._set_globals(self._tile)
        self._arch.scratch(self._uc, iter(struct.unpack("<512Q", vmas)))

    def call(
        self,
        vmas: Vmas,
        force: Mapping[int, int] | None = None,
        disturb: int | None = None,
    ) -> Call:
        """Call the function.

        ``force`` sends jumps at these addresses elsewhere. As the call comes to the
        address ``disturb``, the kernel's variables change.
        """
        self._trace, self._stop, self._force = [], None, force or {}
        self._disturb = disturb
        for vma, flags, anon in (
            (_DST, vmas.dst_flags, vmas.dst_anon),
            (_SRC, vmas.src_flags, vmas.src_anon),
        ):
            struct.pack_into("<Q", self._vmas, vma + self._layout.vm_flags, flags)
            struct.pack_into("<Q", self._vmas, vma + self._layout.anon_vma, anon)
        self._uc.mem_write(_VMAS, bytes(self._vmas))
        self._arch.arguments(self._uc, _VMAS + _DST, _VMAS + _SRC)
        pc = self._texts[0].address + self._shift
        self._arch.enter(self._uc, pc, _STACK + _STACK_SIZE // 2, _RETURN, _TLS)
        call = self._run(pc)
        if disturb is not None:
            self._set_globals(self._tile)
        return call

    def _set_globals(self, data: bytes) -> None:
        for page in self._globals:
            self._uc.mem_write(page, data)

    def _run(self, pc: int) -> Call:
        while True:
            trapped = False
            try:
                self._uc.emu_start(pc, _RETURN)
            except unicorn.UcError as error:
                trapped = error.errno in (
                    unicorn.UC_ERR_INSN_INVALID,
                    unicorn.UC_ERR_EXCEPTION,
                )
            stop, trace = self._stop, tuple(self._trace)
            if stop is None:
                if self._arch.pc(self._uc) == _RETURN:
                    return self._returned(trace)
                patched = trapped and self._arch.is_patch(self.instruction(trace[-1]))
                return Call(trace, False, None, patched, trapped and not patched)
            if stop.left_for is None or not trace:
                return Call(trace, False)
            last = self.instruction(trace[-1])
            if stop.left_for in self._thunks | self.stepped_over:
                pc = self._arch.leave(self._uc)
                self._stop = None
                if pc == _RETURN:
                    return self._returned(trace)
                continue
            called = self._arch.is_call(last)
            return Call(
                trace, False, stop.left_for, not called and self._arch.is_patch(last)
            )

    def _returned(self, trace: tuple[int, ...]) -> Call:
        return Call(trace, skipped=self._arch.result(self._uc) == 0)

    def add(self, text: Text) -> None:
        """Make more code known."""
        code = self._arch.without_tracers(text.code, text.address)
        self._texts.append(text._replace(code=code))
        first, end = text.address + self._shift, text.address + self._shift + len(code)
        rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        self._provide(first, end - first, b"", rights)
        self._uc.mem_write(first, code)

    def _map(self) -> None:
        uc = self._uc
        uc.mem_map(_STACK, _STACK_SIZE)
        # Writing to these ends the call.
        for start, size in ((_VMAS, _PAGE), (_POINTED, _POINTED_SIZE)):
            uc.mem_map(start, size, unicorn.UC_PROT_READ)
        uc.hook_add(unicorn.UC_HOOK_CODE, self._on_instruction)
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)

    def _on_instruction(self, uc: Any, address: int, size: int, _: Any) -> None:
        kernel = address - self._shift
        if kernel not in self._code and not any(
            text.holds(kernel) for text in self._texts
        ):
            self._stop = _Stop(kernel)
            uc.emu_stop()
            return
        if len(self._trace) == _LONGEST:
            self._stop = _Stop()
            uc.emu_stop()
            return
        self._code[kernel] = size
        if self._measuring:
            uc.emu_stop()
            return
        self._trace.append(kernel)
        if kernel == self._disturb:
            self._set_globals(bytes(byte ^ 0xFF for byte in self._tile))
        if kernel in self._force:
            self._arch.jump(uc, self._force[kernel] + self._shift)

    def _on_invalid(
        self, uc: Any, access: int, address: int, size: int, _: int, __: Any
    ) -> bool:
        if access == unicorn.UC_MEM_FETCH_UNMAPPED:
            if address != _RETURN:
                self._stop = _Stop(address - self._shift)
            return False
        cut = address & _CUT
        reads = access == unicorn.UC_MEM_READ_UNMAPPED
        if _KERNEL_HALF <= cut < _KERNEL_IMAGE:
            # KASAN's shadow memory: 0 is "may be accessed", and the stack's is written.
            if reads or access == unicorn.UC_MEM_WRITE_UNMAPPED:
                self._provide(address, size, bytes(_PAGE), unicorn.UC_PROT_ALL)
                return True
        elif reads and (_NULL_END <= cut < _GLOBALS_END or cut >= _KERNEL_IMAGE):
            rights = unicorn.UC_PROT_READ
            self._globals |= self._provide(address, size, self._tile, rights)
            return True
        self._stop = _Stop()
        return False

    def _provide(self, address: int, size: int, data: bytes, rights: int) -> set[int]:
        """Map the pages of an access that are not there yet."""
        new = set()
        for page in range(address // _PAGE * _PAGE, address + size, _PAGE):
            try:
                self._uc.mem_map(page, _PAGE, rights)
            except unicorn.UcError:
                continue  # it is there
            self._uc.mem_write(page, data)
            new.add(page)
        return new
