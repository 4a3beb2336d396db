"""x86-64, with the System V calling convention."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from typing import Any

import unicorn
from unicorn import x86_const as reg

from forktrace.kernel.abi import ENDBR

_SCRATCH = (
    *(reg.UC_X86_REG_RAX, reg.UC_X86_REG_RBX, reg.UC_X86_REG_RCX, reg.UC_X86_REG_RDX),
    *(reg.UC_X86_REG_RBP, reg.UC_X86_REG_R8, reg.UC_X86_REG_R9, reg.UC_X86_REG_R10),
    *(reg.UC_X86_REG_R11, reg.UC_X86_REG_R12, reg.UC_X86_REG_R13),
    *(reg.UC_X86_REG_R14, reg.UC_X86_REG_R15),
)
_INT3, _CALL, _JUMP, _SHORT_JUMP, _LOOPS = 0xCC, 0xE8, 0xE9, 0xEB, range(0xE0, 0xE4)
_ENDS = (_JUMP, _SHORT_JUMP, _INT3, 0xC2, 0xC3, 0xF4)  # ret, hlt
_UD2 = bytes.fromhex("0f0b")
_NOP = bytes.fromhex("0f1f440000")
# arch/x86/include/asm/nops.h: five bytes long, without and with the prefix form.
_NOPS = (_NOP, bytes.fromhex("6666666690"))
_PREFIXES = (0x2E, 0x3E, 0xF2)  # of jumps: cs, ds (notrack), bnd
_SIZES = (0x66, *range(0x40, 0x50))  # of operands, and REX

# Conditions by their number, those that are no condition behind them.
_CARRY, _NO_COUNT, _JRCXZ = 2, 16, 0xE3
_CONDITIONAL = (0x4, 0x8, 0x9)  # behind 0F: cmov, jumps, set
_CARRYING = {
    # Opcode: which of its group are adc and sbb, or rcl and rcr.
    **dict.fromkeys(range(0x80, 0x84), (2, 3)),
    **dict.fromkeys((0xC0, 0xC1, *range(0xD0, 0xD4)), (2, 3)),
}
_CF, _PF, _ZF, _SF, _OF = 1, 4, 0x40, 0x80, 0x800
_TURNS = (
    *((_OF,), (_CF,), (_ZF,), (_CF, _ZF, _CF | _ZF)),
    *((_SF,), (_PF,), (_SF,), (_ZF, _SF, _SF | _ZF)),
)

# Opcodes whose last operand is a number of one byte, and of four or eight.
_BYTE = {0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x6A, 0x6B, 0x80, 0x83}
_INT = {0x05, 0x0D, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x69, 0x81, *range(0xB8, 0xC0)}
_LEA = 0x8D


def machine() -> Any:
    """Return a new Unicorn machine."""
    return unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)


def enter(uc: Any, pc: int, sp: int, back: int, tls: int) -> None:
    """Set the machine up as after a call of ``pc`` that returns to ``back``."""
    # The stack is aligned by 16 before the call pushes.
    uc.mem_write(sp - 8, struct.pack("<Q", back))
    uc.reg_write(reg.UC_X86_REG_RSP, sp - 8)
    uc.reg_write(reg.UC_X86_REG_RIP, pc)
    uc.reg_write(reg.UC_X86_REG_EFLAGS, 2)
    uc.reg_write(reg.UC_X86_REG_GS_BASE, tls)


def arguments(uc: Any, first: int, second: int) -> None:
    """Pass two pointers."""
    uc.reg_write(reg.UC_X86_REG_RDI, first)
    uc.reg_write(reg.UC_X86_REG_RSI, second)


def scratch(uc: Any, values: Iterator[int]) -> None:
    """Give all registers that hold no argument other values."""
    for number in _SCRATCH:
        uc.reg_write(number, next(values))


def result(uc: Any) -> int:
    """Return the int that the function returned, as an unsigned number."""
    return int(uc.reg_read(reg.UC_X86_REG_EAX))


def pc(uc: Any) -> int:
    """Return the program counter."""
    return int(uc.reg_read(reg.UC_X86_REG_RIP))


def jump(uc: Any, address: int) -> None:
    """Go on at another address."""
    uc.reg_write(reg.UC_X86_REG_RIP, address)


def leave(uc: Any) -> int:
    """Undo the call that just happened, and return where its caller goes on."""
    sp = uc.reg_read(reg.UC_X86_REG_RSP)
    uc.reg_write(reg.UC_X86_REG_RSP, sp + 8)
    return int(struct.unpack("<Q", uc.mem_read(sp, 8))[0])


def is_call(instruction: bytes) -> bool:
    """Tell whether it is a direct call."""
    return _bare(instruction)[:1] == bytes([_CALL])


def is_patch(instruction: bytes) -> bool:
    """Tell whether it is a breakpoint, or a jump such as probes put there."""
    return instruction[:1] == bytes([_INT3]) or instruction[:1] == bytes([_JUMP])


def ends(instruction: bytes) -> bool:
    """Tell whether what lies behind an instruction never follows it."""
    bare = _bare(instruction)
    indirect = bare[0] == 0xFF and bare[1] >> 3 & 7 in (4, 5)
    return indirect or bare[0] in _ENDS or bare[:2] == _UD2


def choice(instruction: bytes) -> int | None:
    """Return by what an instruction chooses what it does, None if it does not.

    It is the condition's number in the instruction set, or _NO_COUNT.
    """
    bare = _bare(instruction)
    if 0x70 <= bare[0] < 0x80:
        return bare[0] & 15
    if bare[0] == _JRCXZ:
        return _NO_COUNT
    bare = _bare(instruction, _PREFIXES + _SIZES)
    if bare[0] == 0x0F and len(bare) > 1 and bare[1] >> 4 in _CONDITIONAL:
        return bare[1] & 15
    borrows = bare[0] & ~0xF == 0x10 and bare[0] & 7 < 6  # adc, sbb
    if borrows or (len(bare) > 1 and bare[1] >> 3 & 7 in _CARRYING.get(bare[0], ())):
        return _CARRY
    return None


def holds(uc: Any, choice: int) -> bool:
    """Tell whether the condition of the instruction that comes next holds."""
    if choice == _NO_COUNT:
        return not uc.reg_read(reg.UC_X86_REG_RCX)
    return _holds(int(uc.reg_read(reg.UC_X86_REG_EFLAGS)), choice)


def _holds(flags: int, choice: int) -> bool:
    less = bool(flags & _SF) != bool(flags & _OF)
    true = (
        *(flags & _OF, flags & _CF, flags & _ZF, flags & (_CF | _ZF)),
        *(flags & _SF, flags & _PF, less, less or flags & _ZF),
    )[choice >> 1]
    return bool(true) != bool(choice & 1)


def turn(uc: Any, choice: int) -> None:
    """Make that condition hold if it does not, and the other way round."""
    if choice == _NO_COUNT:
        uc.reg_write(reg.UC_X86_REG_RCX, holds(uc, choice))
        return
    flags = int(uc.reg_read(reg.UC_X86_REG_EFLAGS))
    was = _holds(flags, choice)
    # One flag is enough, or else the second as well: "below or equal" is either.
    for turned in _TURNS[choice >> 1]:
        if _holds(flags ^ turned, choice) != was:
            uc.reg_write(reg.UC_X86_REG_EFLAGS, flags ^ turned)
            return


def numbers(instructions: Iterable[bytes]) -> set[int]:
    """Return the numbers that instructions calculate with, as signed ones."""
    found = set()
    for instruction in instructions:
        bare = _bare(instruction, _PREFIXES + _SIZES)
        # lea: its displacement is of one byte or of four.
        short = bare[0] in _BYTE or (bare[0] == _LEA and bare[1] >> 6 == 1)
        if short:
            size = 1
        elif bare[0] in _INT or bare[0] == _LEA:
            size = 8 if len(bare) == 9 else 4  # movabs
        else:
            continue
        if len(bare) > size:
            found.add(int.from_bytes(bare[-size:], "little", signed=True))
    return found


def jumps(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield all (address, target) that may be direct jumps in ``code``.

    Where instructions begin is not known: some are not there.
    """
    for at, byte in enumerate(code):
        here = address + at
        short = 0x70 <= byte < 0x80 or byte == _SHORT_JUMP or byte in _LOOPS
        if short and at + 2 <= len(code):
            yield here, here + 2 + struct.unpack_from("<b", code, at + 1)[0]
        elif byte == _JUMP and at + 5 <= len(code):
            yield here, here + 5 + struct.unpack_from("<i", code, at + 1)[0]
        elif byte == 0x0F and at + 6 <= len(code) and 0x80 <= code[at + 1] < 0x90:
            yield here, here + 6 + struct.unpack_from("<i", code, at + 2)[0]


def calls(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield all (address, target) that may be direct calls in ``code``.

    Where instructions begin is not known: some are not there. A kprobe on a call leaves
    its target.
    """
    for at, byte in enumerate(code[:-4]):
        if byte in (_CALL, _INT3):
            here = address + at
            yield here, here + 5 + struct.unpack_from("<i", code, at + 1)[0]


def without_tracers(code: bytes, address: int) -> bytes:
    """Return the code without what ftrace put at the function's entry.

    It replaces a nop of 5 bytes by a call, or by a jump to an fexit program's
    trampoline (0c3772a8db1f, "x86/ftrace: implement DYNAMIC_FTRACE_WITH_JMP", 6.19);
    while it does, an int3 stands in the first byte.
    """
    at = 4 if code.startswith(ENDBR) else 0
    entry = code[at : at + 5]
    if len(entry) < 5:
        return code
    target = address + at + 5 + struct.unpack("<i", entry[1:])[0]
    outside = not address <= target < address + len(code)
    half_way = entry[0] == _INT3 and entry[1:] in [nop[1:] for nop in _NOPS]
    if half_way or (entry[0] in (_CALL, _JUMP) and outside):
        return code[:at] + _NOP + code[at + 5 :]
    return code


def _bare(instruction: bytes, prefixes: Container[int] = _PREFIXES) -> bytes:
    """Return an instruction without its prefixes."""
    while len(instruction) > 1 and instruction[0] in prefixes:
        instruction = instruction[1:]
    return instruction
