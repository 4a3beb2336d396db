"""What each instruction does to a ``State``, control flow apart.

An instruction that is not listed makes all that it writes unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import capstone
from capstone import x86_const as x86

from forktrace.kernel import lanes
from forktrace.kernel.lanes import ONE, ZERO, Bits, Opaque, Pointer
from forktrace.kernel.x86.state import REGISTERS, Flags, PathEnds, State

if TYPE_CHECKING:
    from forktrace.kernel.lanes import MaybeLane, Value

_CONTROL = (
    x86.X86_GRP_JUMP,
    x86.X86_GRP_CALL,
    x86.X86_GRP_RET,
    x86.X86_GRP_INT,
    x86.X86_GRP_IRET,
    x86.X86_GRP_PRIVILEGE,
    x86.X86_GRP_BRANCH_RELATIVE,
)

_MOST_FILLED = 512


def run(state: State, insn: Any) -> None:
    """Run one instruction that goes on to the next; end the path on any other."""
    name = insn.mnemonic
    if name in _OPERATIONS:
        _OPERATIONS[name](state, insn)
    elif name.startswith("set"):
        lane = state.flags.condition(name[3:])
        state.write(insn, 0, Bits((lane, *(ZERO,) * 63)))
    elif name.startswith("cmov"):
        _conditional_move(state, insn)
    else:
        _havoc(state, insn)


def _havoc(state: State, insn: Any) -> None:
    """Forget all that an instruction may write."""
    if any(map(insn.group, _CONTROL)):
        raise PathEnds()
    for index, operand in enumerate(insn.operands):
        if operand.type == x86.X86_OP_REG:
            state.write(insn, index, lanes.unknown())
        elif operand.type == x86.X86_OP_MEM and operand.access & capstone.CS_AC_WRITE:
            if " " in insn.mnemonic:  # rep and lock write more, or elsewhere
                raise PathEnds()
            state.write(insn, index, lanes.unknown())
    for register in insn.regs_access()[1]:
        if register in REGISTERS:
            state.registers[REGISTERS[register][0]] = lanes.unknown()
    state.flags = Flags()


def _fill(state: State, insn: Any) -> None:
    """Run rep stos on the stack: rcx times, store rax at rdi and go on behind it."""
    count = lanes.number_of(state.registers.get("rcx", lanes.unknown()))
    where = state.registers.get("rdi")
    if count is None or count > _MOST_FILLED or not isinstance(where, Pointer):
        raise PathEnds()
    size = insn.operands[0].size
    value = state.registers.get("rax", lanes.unknown())
    end = where.offset + size * count
    for offset in range(where.offset, end, size):
        state.store(Pointer(where.base, offset), size, value)
    state.registers["rcx"] = lanes.constant(0)
    state.registers["rdi"] = Pointer(where.base, end)


def _nothing(state: State, insn: Any) -> None:
    pass


# -- moving ---------------------------------------------------------------------


def _move(state: State, insn: Any) -> None:
    state.write(insn, 0, state.read(insn, 1))


def _move_signed(state: State, insn: Any) -> None:
    known = lanes.lanes_of(state.read(insn, 1))[: _width(insn, 1)]
    top = (known[-1],) * (lanes.WIDTH - len(known))
    state.write(insn, 0, Bits(known + top))


def _conditional_move(state: State, insn: Any) -> None:
    when = state.settle(state.flags.condition(insn.mnemonic[4:]))
    new, old = state.read(insn, 1), state.read(insn, 0)
    if when == ZERO or _same(new, old):
        value = old
    elif when == ONE:
        value = new
    else:
        value = _lanewise(lambda a, b: lanes.choose(when, a, b), new, old)
    state.write(insn, 0, value)


def _address_of(state: State, insn: Any) -> None:
    where = state.address(insn, insn.operands[1])
    if where is None:
        state.write(insn, 0, lanes.unknown())
    elif where.base == "absolute":
        state.write(insn, 0, lanes.constant(where.offset))
    else:
        state.write(insn, 0, where)


def _push(state: State, insn: Any) -> None:
    if insn.operands[0].size != 8:
        raise PathEnds()
    state.push(state.read(insn, 0))


def _pop(state: State, insn: Any) -> None:
    if insn.operands[0].size != 8:
        raise PathEnds()
    state.write(insn, 0, state.pop())


def _leave(state: State, insn: Any) -> None:
    state.registers["rsp"] = state.registers.get("rbp", lanes.unknown())
    state.registers["rbp"] = state.pop()


# -- bits -------------------------------------------------------------------------


def _logic(state: State, insn: Any) -> None:
    a, b = state.read(insn, 0), state.read(insn, 1)
    name, width = insn.mnemonic, _width(insn)
    result: Value
    if name == "xor":
        # A register with itself is how compilers write 0, whatever it held.
        equal = _same(a, b) or _same_register(insn)
        result = lanes.constant(0) if equal else _lanewise(lanes.differ, a, b)
    elif _same(a, b) or _same_register(insn):
        result = a
    else:
        join = lanes.either if name == "or" else lanes.both
        result = _lanewise(join, a, b)
    result = lanes.low(result, width)
    state.flags = _flags_of(result, width, carry=ZERO, overflow=ZERO)
    if name != "test":
        state.write(insn, 0, result)


def _invert(state: State, insn: Any) -> None:
    known = lanes.lanes_of(state.read(insn, 0))
    state.write(insn, 0, Bits(tuple(map(lanes.contrary, known))))


def _shift(state: State, insn: Any) -> None:
    width, count = _width(insn), 1
    if len(insn.operands) == 2:
        amount = insn.operands[1]
        by_immediate = amount.type == x86.X86_OP_IMM
        count = amount.imm & (63 if width == 64 else 31) if by_immediate else 0
    if not 0 < count < width:
        _havoc(state, insn)
        return
    known = lanes.lanes_of(state.read(insn, 0))[:width]
    if insn.mnemonic in ("shl", "sal"):
        moved, carry = (ZERO,) * count + known[:-count], known[width - count]
    else:
        top = known[-1] if insn.mnemonic == "sar" else ZERO
        moved, carry = known[count:] + (top,) * count, known[count - 1]
    result = Bits(moved + (ZERO,) * (lanes.WIDTH - width))
    state.flags = _flags_of(result, width, carry=carry)
    state.write(insn, 0, result)


def _bit_test(state: State, insn: Any) -> None:
    index = lanes.number_of(state.read(insn, 1))
    in_memory = insn.operands[0].type == x86.X86_OP_MEM
    carry: MaybeLane = None
    # From a register, the number may lead beyond the operand in memory.
    if index is not None and not (
        in_memory and insn.operands[1].type == x86.X86_OP_REG
    ):
        carry = lanes.lanes_of(state.read(insn, 0))[index % _width(insn)]
    # ZF is kept, the others are undefined.
    state.flags = Flags(nonzero=state.flags.nonzero, carry=carry)


# -- numbers -----------------------------------------------------------------------


def _subtract(state: State, insn: Any) -> None:
    width = _width(insn)
    a, b = state.read(insn, 0), state.read(insn, 1)
    number = lanes.number_of(b)
    result: Value
    if _same(a, b) or _same_register(insn):
        result = lanes.constant(0)
        state.flags = _flags_of(result, width, carry=ZERO, overflow=ZERO)
    elif number == 0:
        result = a
        state.flags = _flags_of(result, width, carry=ZERO, overflow=ZERO)
    else:
        result = lanes.unknown()
        if number is not None:
            result = _sum(a, lanes.constant(-number), width)
        unequal = lanes.nonzero(lanes.lanes_of(_lanewise(lanes.differ, a, b)))
        is_zero = lanes.contrary(lanes.nonzero(lanes.lanes_of(a)[:width]))
        state.flags = Flags(nonzero=unequal, carry=is_zero if number == 1 else None)
    if insn.mnemonic == "sub":
        state.write(insn, 0, result)


def _add(state: State, insn: Any) -> None:
    width = _width(insn)
    result = _sum(state.read(insn, 0), state.read(insn, 1), width)
    state.flags = _flags_of(result, width)
    state.write(insn, 0, result)


def _negate(state: State, insn: Any) -> None:
    nonzero = lanes.nonzero(lanes.lanes_of(state.read(insn, 0))[: _width(insn)])
    state.write(insn, 0, lanes.unknown())
    state.flags = Flags(nonzero=nonzero, carry=nonzero)


def _subtract_borrow(state: State, insn: Any) -> None:
    """Run sbb of a register with itself: all ones if there was a borrow, else 0."""
    if not _same_register(insn):
        _havoc(state, insn)
        return
    carry = state.flags.carry
    state.write(insn, 0, Bits((carry,) * lanes.WIDTH))
    state.flags = Flags(nonzero=carry, sign=carry, carry=carry, overflow=ZERO)


# -- helpers -----------------------------------------------------------------------


def _width(insn: Any, index: int = 0) -> int:
    """Return the width of an operand in bits."""
    return int(8 * insn.operands[index].size)


def _same(a: Value, b: Value) -> bool:
    """Tell whether two values are known to be equal; unknown bits may differ."""
    return a == b and (isinstance(a, (Pointer, Opaque)) or None not in a.lanes)


def _same_register(insn: Any) -> bool:
    first, second = insn.operands[:2]
    both = first.type == second.type == x86.X86_OP_REG
    return bool(both and first.reg == second.reg)


def _lanewise(
    join: Callable[[MaybeLane, MaybeLane], MaybeLane], a: Value, b: Value
) -> Bits:
    return Bits(tuple(map(join, lanes.lanes_of(a), lanes.lanes_of(b))))


def _flags_of(
    value: Value,
    width: int,
    carry: MaybeLane = None,
    overflow: MaybeLane = None,
) -> Flags:
    known = lanes.lanes_of(value)[:width]
    return Flags(lanes.nonzero(known), known[-1], carry, overflow)


def _sum(a: Value, b: Value, width: int) -> Value:
    first, second = lanes.number_of(a), lanes.number_of(b)
    if first is not None and second is not None:
        return lanes.low(lanes.constant(first + second), width)
    for value, number in ((a, second), (b, first)):
        if number == 0:
            return value
        if isinstance(value, Pointer) and number is not None and width == lanes.WIDTH:
            signed = number - (number >> 63 << 64)
            return Pointer(value.base, value.offset + signed)
    return lanes.unknown()


_OPERATIONS: dict[str, Callable[[State, Any], None]] = {
    "mov": _move,
    "movabs": _move,
    "movzx": _move,
    "movsx": _move_signed,
    "movsxd": _move_signed,
    "lea": _address_of,
    "push": _push,
    "pop": _pop,
    "leave": _leave,
    "nop": _nothing,
    "endbr64": _nothing,
    "rep stosd": _fill,
    "rep stosq": _fill,
    "and": _logic,
    "test": _logic,
    "or": _logic,
    "xor": _logic,
    "not": _invert,
    "shl": _shift,
    "sal": _shift,
    "shr": _shift,
    "sar": _shift,
    "bt": _bit_test,
    "cmp": _subtract,
    "sub": _subtract,
    "add": _add,
    "neg": _negate,
    "sbb": _subtract_borrow,
}
