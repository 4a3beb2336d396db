"""arm64, with the AAPCS64 calling convention."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import unicorn
from unicorn import arm64_const as reg

_SCRATCH = tuple(
    getattr(reg, f"UC_ARM64_REG_X{number}")
    for number in (*range(2, 18), *range(19, 30))
)
_NOP = 0xD503201F
_SAVE_LR = 0xAA1E03E9  # mov x9, x30: what ftrace puts before its call
_KPROBE = 0xD4200080  # brk #4
_CARRY, _LAST = 2, 15  # conditions; a larger number is an instruction
_V, _C, _Z, _N = (1 << bit for bit in range(28, 32))
_TURNS = ((_Z,), (_C,), (_N,), (_V,), (_C, _Z, _C | _Z), (_N,), (_Z, _N, _N | _Z), ())
_ENTRY = 4  # instructions at a function's entry among which ftrace's two are


def machine() -> Any:
    """Return a new Unicorn machine."""
    return unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)


def enter(uc: Any, pc: int, sp: int, back: int, tls: int) -> None:
    """Set the machine up as after a call of ``pc`` that returns to ``back``."""
    uc.reg_write(reg.UC_ARM64_REG_SP, sp)
    uc.reg_write(reg.UC_ARM64_REG_PC, pc)
    uc.reg_write(reg.UC_ARM64_REG_X30, back)
    uc.reg_write(reg.UC_ARM64_REG_SP_EL0, tls)
    # The shadow call stack, which grows upwards, in the unused half of the stack.
    uc.reg_write(reg.UC_ARM64_REG_X18, sp + 0x100)


def arguments(uc: Any, first: int, second: int) -> None:
    """Pass two pointers."""
    uc.reg_write(reg.UC_ARM64_REG_X0, first)
    uc.reg_write(reg.UC_ARM64_REG_X1, second)


def scratch(uc: Any, values: Iterator[int]) -> None:
    """Give all registers that hold no argument other values."""
    for number in _SCRATCH:
        uc.reg_write(number, next(values))


def result(uc: Any) -> int:
    """Return the int that the function returned, as an unsigned number."""
    return int(uc.reg_read(reg.UC_ARM64_REG_W0))


def pc(uc: Any) -> int:
    """Return the program counter."""
    return int(uc.reg_read(reg.UC_ARM64_REG_PC))


def jump(uc: Any, address: int) -> None:
    """Go on at another address."""
    uc.reg_write(reg.UC_ARM64_REG_PC, address)


def leave(uc: Any) -> int:
    """Undo the call that just happened, and return where its caller goes on."""
    return int(uc.reg_read(reg.UC_ARM64_REG_X30))


def is_call(instruction: bytes) -> bool:
    """Tell whether it is a direct call."""
    return _word(instruction) >> 26 == 0b100101


def is_patch(instruction: bytes) -> bool:
    """Tell whether it is a breakpoint, or a jump such as probes put there."""
    word = _word(instruction)
    return word & 0xFFE0001F == 0xD4200000 or word >> 26 == 0b000101


def ends(instruction: bytes) -> bool:
    """Tell whether what lies behind an instruction never follows it."""
    word = _word(instruction)
    # br, ret and their like; of these only blr comes back.
    register = word & 0xFE000000 == 0xD6000000 and word >> 21 & 7 != 1
    return register or is_patch(instruction)


def choice(instruction: bytes) -> int | None:
    """Return by what an instruction chooses what it does, None if it does not.

    It is the condition's number in the instruction set, or the instruction.
    """
    word = _word(instruction)
    if word & 0xFF000000 == 0x54000000:  # b.cond
        return word & 15
    if word & 0x7C000000 == 0x34000000:  # cbz, cbnz, tbz, tbnz
        return word
    if word & 0x1FE00000 == 0x1A800000 or word & 0x3FE00000 == 0x3A400000:
        return word >> 12 & 15  # csel and the like; ccmp, ccmn
    if word & 0x1FE0FC00 == 0x1A000000:  # adc, sbc
        return _CARRY
    return None


def holds(uc: Any, choice: int) -> bool:
    """Tell whether the condition of the instruction that comes next holds."""
    if choice > _LAST:
        return not uc.reg_read(_register(choice)) & _asked(choice)
    return _holds(int(uc.reg_read(reg.UC_ARM64_REG_NZCV)), choice)


def _holds(flags: int, choice: int) -> bool:
    higher = flags & _C and not flags & _Z
    not_less = bool(flags & _N) == bool(flags & _V)
    true = (
        *(flags & _Z, flags & _C, flags & _N, flags & _V),
        *(higher, not_less, not_less and not flags & _Z, 1),
    )[choice >> 1]
    return bool(true) != bool(choice & 1 and choice < _LAST)


def turn(uc: Any, choice: int) -> None:
    """Make that condition hold if it does not, and the other way round."""
    if choice > _LAST:
        was, bits = int(uc.reg_read(_register(choice))), _asked(choice)
        turned = was & ~bits if was & bits else was | (bits & -bits)
        uc.reg_write(_register(choice), turned)
        return
    flags = int(uc.reg_read(reg.UC_ARM64_REG_NZCV))
    was = _holds(flags, choice)
    for turned in _TURNS[choice >> 1]:
        if _holds(flags ^ turned, choice) != was:
            uc.reg_write(reg.UC_ARM64_REG_NZCV, flags ^ turned)
            return


def numbers(instructions: Iterable[bytes]) -> set[int]:
    """Return the numbers that instructions calculate with, as signed ones."""
    found, made = set(), 0
    for instruction in instructions:
        word = _word(instruction)
        shift = 16 * (word >> 21 & 3)
        if word & 0x1F000000 == 0x11000000:  # add, sub
            found.add(word >> 10 & 0xFFF)
        elif word & 0x1F800000 == 0x12800000:  # movn, movz, movk: one part of four
            kept = made & ~(0xFFFF << shift) if word >> 29 & 3 == 3 else 0
            made = kept | (word >> 5 & 0xFFFF) << shift
            found.add(made if word >> 29 & 3 else ~made)
    return found


def _register(word: int) -> int:
    number = word & 31
    return int(getattr(reg, f"UC_ARM64_REG_X{number}" if number < 31 else "XZR"))


def _asked(word: int) -> int:
    """Return the bits of its register that cbz or tbz asks for."""
    if word & 0x02000000:
        return 1 << ((word >> 31) << 5 | word >> 19 & 31)
    return (1 << 64) - 1 if word >> 31 else (1 << 32) - 1


def jumps(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield all (address, target) that are direct jumps in ``code``."""
    for at in range(0, len(code) - 3, 4):
        word = _word(code[at : at + 4])
        if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:
            offset = _signed(word >> 5, 19)  # b.cond, cbz, cbnz
        elif word & 0x7E000000 == 0x36000000:
            offset = _signed(word >> 5, 14)  # tbz, tbnz
        elif word >> 26 == 0b000101:
            offset = _signed(word, 26)
        else:
            continue
        yield address + at, address + at + 4 * offset


def calls(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield all (address, target) that are direct calls in ``code``.

    One that a kprobe stands on cannot be seen.
    """
    for at in range(0, len(code) - 3, 4):
        word = _word(code[at : at + 4])
        if word >> 26 == 0b100101:
            yield address + at, address + at + 4 * _signed(word, 26)


def without_tracers(code: bytes, address: int) -> bytes:
    """Return the code without what ftrace put at the function's entry.

    It replaces two nops by ``mov x9, x30`` and ``bl`` (3b23e4991fb6, "arm64: implement
    ftrace with regs", 5.5). A kprobe at the entry hides the first of them.
    """
    words = list(struct.unpack_from(f"<{len(code) // 4}I", code))
    for at, (first, second) in enumerate(zip(words[:_ENTRY], words[1:])):
        calls = second >> 26 == 0b100101
        if first == _SAVE_LR or (first == _KPROBE and (calls or second == _NOP)):
            words[at] = _NOP
            if calls:
                words[at + 1] = _NOP
            break
    return struct.pack(f"<{len(words)}I", *words)


def _word(instruction: bytes) -> int:
    return int.from_bytes(instruction[:4], "little")


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
