"""arm64, with the AAPCS64 calling convention."""

from __future__ import annotations

import struct
from collections.abc import Iterator
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


def branch(instruction: bytes, address: int) -> tuple[int, int] | None:
    """Return where a conditional jump goes when taken and when not taken."""
    word = _word(instruction)
    if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:
        offset = _signed(word >> 5, 19)  # b.cond, cbz, cbnz
    elif word & 0x7E000000 == 0x36000000:
        offset = _signed(word >> 5, 14)  # tbz, tbnz
    else:
        return None
    return address + 4 * offset, address + 4


def jumps(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield all (address, target) that are direct jumps in ``code``."""
    for at in range(0, len(code) - 3, 4):
        word = _word(code[at : at + 4])
        taken = branch(code[at : at + 4], address + at)
        if taken:
            yield address + at, taken[0]
        elif word >> 26 == 0b000101:
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
