"""Runs kernel functions that take two VMAs, in an emulator, to see what they do.

Nothing here knows what an instruction means: Unicorn executes them. A call ends when
it returns, or when it does what a mere decision does not: it calls another function,
writes to what a VMA points to, or follows a pointer that leads nowhere. What an
instruction chooses by the processor's flags can be turned into the other choice.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import unicorn

from forktrace.kernel.fillings import NULL_END, PAGE, POINTED, POINTED_SIZE, pointers
from forktrace.kernel.symbols import is_cold

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from forktrace.kernel.arch import Architecture
    from forktrace.kernel.fillings import Filling
    from forktrace.kernel.text import Text

_LONGEST = 400
"""Instructions after which a call counts as going on."""

# Where things lie in the emulator. The kernel's text moves to _TEXT, so that what it
# addresses relative to itself, and per-CPU variables, lie between the null page and
# _GLOBALS_END.
_RETURN = 0x20000
_TLS = 0x4_0000_0000
_TEXT = 0x8_0000_0000
_GLOBALS_END = 0x10_0000_0000
_STACK, _VMAS = 0x100_0000_0000, 0x200_0000_0000
_STACK_SIZE = 0x10000
_DST, _SRC = 0x400, 0x800  # into the page of the VMAs

# x86-64 in Unicorn has 52 bits of address: kernel addresses come cut to them.
_CUT = (1 << 52) - 1
_KERNEL_HALF = 1 << 51
_SHADOW = (POINTED + POINTED_SIZE) >> 3  # KASAN's, of all that is here
_KERNEL_IMAGE = _CUT - (1 << 32)  # what absolute 32-bit addresses reach


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

    ``trace`` holds the kernel addresses of its instructions, in order, ``choices`` what
    those chose that choose, and where. ``result``: what it returned, if it did;
    ``wrote``: to a VMA or a variable; ``followed``: how often it read what a VMA or a
    variable points to. ``lost``: it followed a pointer that leads nowhere, or went on
    for long. ``left_for`` is the function that it called or jumped to. ``patched``: it
    ended at a breakpoint or a jump out of the code. ``strayed``: it left the code by
    neither that nor a direct call. ``trapped``: it ended at an instruction that nobody
    executes on purpose.
    """

    trace: tuple[int, ...]
    choices: tuple[tuple[int, bool], ...] = ()
    result: int | None = None
    wrote: bool = False
    followed: int = 0
    lost: bool = False
    left_for: int | None = None
    patched: bool = False
    strayed: bool = False
    trapped: bool = False

    @property
    def skipped(self) -> bool:
        """Tell whether it returned 0 and did nothing else."""
        return self.result == 0 and not self.wrote


class _Instruction(NamedTuple):
    """Its size, and the choice that it makes, if any."""

    size: int
    choice: int | None


class _Stop(NamedTuple):
    """Why the emulator stopped: at which address of the kernel, if it left the code."""

    left_for: int | None = None
    lost: bool = False


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
        self._shift = _TEXT + first % PAGE - first
        self._uc = arch.machine()
        self._code: dict[int, _Instruction] = {}
        self._measuring = False
        self._trace: list[int] = []
        self._choices: list[tuple[int, bool]] = []
        self._wrote, self._followed = False, 0
        self._stop: _Stop | None = None
        self._turned: Collection[int] = ()
        self._turning: int | None = None
        self._disturb: int | None = None
        self._globals: set[int] = set()
        self._shadow: int | None = None
        self._tile = bytes(PAGE)
        self._vmas = bytearray()
        self._map()
        for text in texts:
            self.add(text)
        self.fill(pointers()[0])

    def knows(self, address: int) -> bool:
        """Tell whether an instruction is known to be there."""
        return address in self._code

    def instruction(self, address: int) -> bytes:
        """Return the bytes of an instruction that is known."""
        size = self._code[address].size
        text = next(text for text in self._texts if text.holds(address))
        at = address - text.address
        return text.code[at : at + size]

    def starts(self, text: Text) -> set[int]:
        """Return where the instructions of known code begin, run or not."""
        at, starts = text.address, set()
        self._measuring, self._trace = True, []
        while text.holds(at):
            starts.add(at)
            self._code.pop(at, None)
            with suppress(unicorn.UcError):
                self._uc.emu_start(at + self._shift, _RETURN)
            at += self._code[at].size if at in self._code else 1
        self._measuring = False
        return starts

    def fill(self, filling: Filling) -> None:
        """Give every byte but flags and anon_vma another value."""
        self._tile, self._wild = filling.variables, filling.wild
        self._vmas = bytearray(filling.vmas)
        self._uc.mem_write(POINTED, filling.pointed * (POINTED_SIZE // PAGE))
        self._uc.mem_write(_STACK, self._tile * (_STACK_SIZE // PAGE))
        self._set_globals(self._tile)
        self._arch.scratch(self._uc, iter(struct.unpack("<512Q", self._tile)))

    def call(
        self,
        vmas: Vmas,
        turned: Collection[int] = (),
        disturb: int | None = None,
    ) -> Call:
        """Call the function.

        Instructions at the addresses ``turned`` choose the other way. As the call comes
        to the address ``disturb``, the kernel's variables change.
        """
        self._trace, self._choices, self._stop = [], [], None
        self._wrote, self._followed = False, 0
        self._turned, self._turning, self._disturb = turned, None, disturb
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
        if disturb is not None or self._wrote:
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
            stop, trace = self._stop, self._trace
            if stop is None:
                if self._arch.pc(self._uc) == _RETURN:
                    return self._ended(result=self._arch.result(self._uc))
                patched = trapped and self._arch.is_patch(self.instruction(trace[-1]))
                return self._ended(patched=patched, trapped=trapped and not patched)
            if stop.left_for is None or not trace:
                return self._ended(lost=stop.lost)
            if stop.left_for in self._thunks | self.stepped_over:
                pc = self._arch.leave(self._uc)
                self._stop = None
                if pc == _RETURN:
                    return self._ended(result=self._arch.result(self._uc))
                continue
            last = self.instruction(trace[-1])
            called, patched = self._arch.is_call(last), self._arch.is_patch(last)
            return self._ended(
                left_for=stop.left_for,
                patched=patched and not called,
                strayed=not called and not patched,
            )

    def _ended(self, **how: Any) -> Call:
        return Call(
            tuple(self._trace),
            tuple(self._choices),
            wrote=self._wrote,
            followed=self._followed,
            **how,
        )

    def add(self, text: Text) -> None:
        """Make more code known."""
        code = text.code
        if text.name and not is_cold(text.name):  # it begins as functions do
            code = self._arch.without_tracers(code, text.address)
        self._texts.append(text._replace(code=code))
        first, end = text.address + self._shift, text.address + self._shift + len(code)
        rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        self._provide(first, end - first, b"", rights)
        self._uc.mem_write(first, code)

    def _map(self) -> None:
        uc = self._uc
        uc.mem_map(_STACK, _STACK_SIZE)
        uc.mem_map(_VMAS, PAGE)
        # Writing to it ends the call.
        uc.mem_map(POINTED, POINTED_SIZE, unicorn.UC_PROT_READ)
        uc.hook_add(unicorn.UC_HOOK_CODE, self._on_instruction)
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        for first, end in (
            (_VMAS, _VMAS + PAGE),
            (NULL_END, _GLOBALS_END),
            (_KERNEL_IMAGE, _CUT),
        ):
            uc.hook_add(
                unicorn.UC_HOOK_MEM_WRITE, self._on_write, begin=first, end=end - 1
            )
        uc.hook_add(
            unicorn.UC_HOOK_MEM_READ,
            self._on_follow,
            begin=POINTED,
            end=POINTED + POINTED_SIZE - 1,
        )

    def _on_write(self, *_: Any) -> None:
        self._wrote = True

    def _on_follow(self, *_: Any) -> None:
        self._followed += 1

    def _on_instruction(self, uc: Any, address: int, size: int, _: Any) -> None:
        kernel = address - self._shift
        known = self._code.get(kernel) or self._learn(kernel, size)
        if known is None or len(self._trace) == _LONGEST:
            self._stop = _Stop(None if known else kernel, lost=known is not None)
            uc.emu_stop()
            return
        if self._measuring:
            uc.emu_stop()
            return
        if kernel == self._turning:
            self._turning = None
        elif known.choice is not None:
            holds = self._arch.holds(uc, known.choice)
            if kernel in self._turned:
                self._arch.turn(uc, known.choice)
                # Only a jump, if but to where it is, makes Unicorn see its new flags.
                self._turning = kernel
                self._arch.jump(uc, address)
                return
            self._choices.append((kernel, holds))
        self._trace.append(kernel)
        if kernel == self._disturb:
            self._set_globals(bytes(byte ^ 0xFF for byte in self._tile))

    def _learn(self, kernel: int, size: int) -> _Instruction | None:
        """Return what is at an address for the first time, if it is known code."""
        if not any(text.holds(kernel) for text in self._texts):
            return None
        self._code[kernel] = _Instruction(size, None)
        choice = self._arch.choice(self.instruction(kernel))
        known = self._code[kernel] = _Instruction(size, choice)
        return known

    def _on_invalid(
        self, uc: Any, access: int, address: int, size: int, _: int, __: Any
    ) -> bool:
        # What was only read so far is data here, and may be code as well.
        if access in (unicorn.UC_MEM_FETCH_UNMAPPED, unicorn.UC_MEM_FETCH_PROT):
            if address != _RETURN:
                self._stop = _Stop(address - self._shift)
            return False
        cut = address & _CUT
        unmapped = access in (
            unicorn.UC_MEM_READ_UNMAPPED,
            unicorn.UC_MEM_WRITE_UNMAPPED,
        )
        if unmapped and self._in_shadow(cut):
            # 0 is "may be accessed", and the stack's is written.
            self._provide(address, size, bytes(PAGE), unicorn.UC_PROT_ALL)
            return True
        variable = NULL_END <= cut < _GLOBALS_END or cut >= _KERNEL_IMAGE
        # Pointers that may be anything lead to variables by accident.
        if unmapped and variable and not self._wild:
            rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
            self._globals |= self._provide(address, size, self._tile, rights)
            return True
        self._stop = _Stop(lost=not POINTED <= cut < POINTED + POINTED_SIZE)
        return False

    def _in_shadow(self, cut: int) -> bool:
        """Tell whether an address is in KASAN's shadow of the memory that is here.

        Where that lies shows when no pointer leads anywhere else.
        """
        if not _KERNEL_HALF <= cut < _KERNEL_IMAGE:
            return False
        if self._shadow is None and not self._wild:
            self._shadow = cut
        return self._shadow is not None and abs(cut - self._shadow) < _SHADOW

    def _provide(self, address: int, size: int, data: bytes, rights: int) -> set[int]:
        """Map the pages of an access that are not there yet."""
        new = set()
        for page in range(address // PAGE * PAGE, address + size, PAGE):
            try:
                self._uc.mem_map(page, PAGE, rights)
            except unicorn.UcError:
                continue  # it is there
            self._uc.mem_write(page, data)
            new.add(page)
        return new
