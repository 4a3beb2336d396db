"""What is known at one point of a path: registers, stack, processor flags, findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from capstone import x86_const as x86

from forktrace.kernel import lanes
from forktrace.kernel.lanes import ONE, ZERO, Bits, Opaque, Pointer

if TYPE_CHECKING:
    from forktrace.kernel.decode import Layout
    from forktrace.kernel.lanes import Atom, MaybeLane, Value


class PathEnds(Exception):
    """The path has left what the interpreter follows.

    ``exits`` are the addresses where it may go on, ``skips`` and ``patched`` what
    ``decode.Path`` says of them.
    """

    def __init__(self, *exits: int, skips: bool = False, patched: bool = False) -> None:
        """Keep how the path ended."""
        super().__init__()
        self.exits, self.skips, self.patched = exits, skips, patched


def _register_table() -> dict[int, tuple[str, int, int]]:
    names: dict[str, tuple[str, int, int]] = {}
    for letter in "abcd":
        whole = f"r{letter}x"
        names[whole] = (whole, 0, 64)
        names[f"e{letter}x"] = (whole, 0, 32)
        names[f"{letter}x"] = (whole, 0, 16)
        names[f"{letter}l"] = (whole, 0, 8)
        names[f"{letter}h"] = (whole, 8, 8)
    for short in ("si", "di", "bp", "sp"):
        whole = f"r{short}"
        names[whole] = (whole, 0, 64)
        names[f"e{short}"] = (whole, 0, 32)
        names[short] = (whole, 0, 16)
        names[f"{short}l"] = (whole, 0, 8)
    for index in range(8, 16):
        whole = f"r{index}"
        for suffix, width in (("", 64), ("d", 32), ("w", 16), ("b", 8)):
            names[whole + suffix] = (whole, 0, width)
    return {getattr(x86, f"X86_REG_{n.upper()}"): place for n, place in names.items()}


REGISTERS = _register_table()
"""capstone's number of a register -> (the 64-bit register, lowest bit, width)."""


@dataclass(frozen=True)
class Flags:
    """The processor's flags after the last operation, None where not known."""

    nonzero: MaybeLane = None
    sign: MaybeLane = None
    carry: MaybeLane = None
    overflow: MaybeLane = None

    def condition(self, code: str) -> MaybeLane:
        """Return the condition of j<code>, set<code> and cmov<code>."""
        zero = lanes.contrary(self.nonzero)
        less = lanes.differ(self.sign, self.overflow)
        table = {
            "e": zero,
            "s": self.sign,
            "b": self.carry,
            "o": self.overflow,
            "be": lanes.either(self.carry, zero),
            "l": less,
            "le": lanes.either(less, zero),
        }
        if code in _CONTRARIES:
            return lanes.contrary(table[_CONTRARIES[code]])
        return table.get(code)


_CONTRARIES = {
    "ne": "e",
    "ns": "s",
    "ae": "b",
    "no": "o",
    "a": "be",
    "ge": "l",
    "g": "le",
}


@dataclass
class State:
    """Everything known at one point of one path.

    ``at`` is the address of the next instruction; the stack maps (offset from the
    entry's rsp, size in bytes) to what was stored there. ``trace``, ``clear`` and
    ``found`` are those of ``decode.Path``.
    """

    at: int
    layout: Layout
    registers: dict[str, Value]
    stack: dict[tuple[int, int], Value]
    flags: Flags = field(default_factory=Flags)
    trace: tuple[int, ...] = ()
    clear: frozenset[Atom] = frozenset()
    found: tuple[frozenset[Atom], ...] = ()

    def fork(self) -> State:
        """Return a copy that goes its own way."""
        return State(
            self.at,
            self.layout,
            dict(self.registers),
            dict(self.stack),
            self.flags,
            self.trace,
            self.clear,
            self.found,
        )

    # -- what the path has learnt ------------------------------------------------

    def settle(self, answer: MaybeLane) -> MaybeLane:
        """Return an answer with what the path has already learnt put in."""
        if answer is None or not answer.atoms:
            return answer
        still_open = answer.atoms - self.clear
        if not still_open:
            return ONE if answer.negated else ZERO
        if any(found - self.clear <= still_open for found in self.found):
            return ZERO if answer.negated else ONE
        return lanes.Lane(answer.negated, still_open)

    def learn(self, atoms: frozenset[Atom], any_set: bool) -> None:
        """Note that one of ``atoms`` is set, or that none is."""
        if any_set:
            self.found += (atoms,)
        else:
            self.clear |= atoms

    # -- operands ----------------------------------------------------------------

    def read(self, insn: Any, index: int) -> Value:
        """Return an operand, all bits above its width clear."""
        operand = insn.operands[index]
        if operand.type == x86.X86_OP_IMM:
            # Immediates are sign-extended to the width of what they work on.
            width = 8 * insn.operands[0].size
            return lanes.low(lanes.constant(operand.imm), width)
        if operand.type == x86.X86_OP_REG:
            return self.read_register(operand.reg)
        if operand.type == x86.X86_OP_MEM:
            return self._load(self.address(insn, operand), operand.size)
        return lanes.unknown()

    def read_register(self, register: int) -> Value:
        """Return a register by capstone's number."""
        if register not in REGISTERS:
            return lanes.unknown()
        whole, bottom, width = REGISTERS[register]
        value = self.registers.setdefault(whole, lanes.unknown())
        if width == lanes.WIDTH:
            return value
        shifted = lanes.lanes_of(value)[bottom:] + (ZERO,) * bottom
        return lanes.low(Bits(shifted), width)

    def write(self, insn: Any, index: int, value: Value) -> None:
        """Set an operand; end the path on a store anywhere but the stack."""
        operand = insn.operands[index]
        if operand.type == x86.X86_OP_MEM:
            self.store(self.address(insn, operand), operand.size, value)
        elif operand.type == x86.X86_OP_REG and operand.reg in REGISTERS:
            self._write_register(REGISTERS[operand.reg], value)

    def _write_register(self, place: tuple[str, int, int], value: Value) -> None:
        whole, bottom, width = place
        if width >= 32:  # a 32-bit write clears the upper half
            self.registers[whole] = lanes.low(value, width)
            return
        old = lanes.lanes_of(self.registers.get(whole, lanes.unknown()))
        new = lanes.lanes_of(value)[:width]
        self.registers[whole] = Bits(old[:bottom] + new + old[bottom + width :])

    def address(self, insn: Any, operand: Any) -> Pointer | None:
        """Return where a memory operand points, None when that is not known."""
        memory = operand.mem
        in_segment = memory.segment in (x86.X86_REG_GS, x86.X86_REG_FS)
        base = insn.reg_name(memory.segment) if in_segment else "absolute"
        result = Pointer(base, memory.disp)
        if memory.base == x86.X86_REG_RIP:
            result = Pointer(base, memory.disp + insn.address + insn.size)
        elif memory.base:
            register = self.read_register(memory.base)
            number = lanes.number_of(register)
            if isinstance(register, Pointer) and not in_segment:
                result = Pointer(register.base, register.offset + memory.disp)
            elif number is None:
                return None
            else:
                result = Pointer(base, number + memory.disp)
        if memory.index:
            number = lanes.number_of(self.read_register(memory.index))
            if number is None:
                return None
            result = Pointer(result.base, result.offset + number * memory.scale)
        return result

    # -- memory --------------------------------------------------------------------

    def _load(self, where: Pointer | None, size: int) -> Value:
        if where is None:
            return lanes.unknown()
        if where.base == "stack":
            return self._load_stack(where.offset, size)
        known: list[MaybeLane] = []
        if where.base in ("dst", "src"):
            for place in range(where.offset, where.offset + size):
                known.extend(self._byte(where.base, place))
        if not any(known):
            return Opaque(("load", where, size))
        return Bits((*known, *(ZERO,) * (lanes.WIDTH - 8 * size)))

    def _byte(self, side: str, place: int) -> list[MaybeLane]:
        """Return the lanes of the byte at ``place`` in a struct vm_area_struct."""
        for name in ("vm_flags", "anon_vma"):
            inside = place - getattr(self.layout, name)
            if 0 <= inside < 8:
                atoms = (lanes.Atom(side, name, 8 * inside + i) for i in range(8))
                return [lanes.Lane(False, frozenset([atom])) for atom in atoms]
        return [None] * 8

    def _load_stack(self, offset: int, size: int) -> Value:
        for (start, length), value in self.stack.items():
            if start <= offset and offset + size <= start + length:
                if (start, length) == (offset, size):
                    return value
                skipped = 8 * (offset - start)
                shifted = lanes.lanes_of(value)[skipped:] + (ZERO,) * skipped
                return lanes.low(Bits(shifted), 8 * size)
        return lanes.unknown()

    def store(self, where: Pointer | None, size: int, value: Value) -> None:
        """Store on the stack; end the path on a store elsewhere."""
        if where is None or where.base != "stack":
            raise PathEnds()
        first, last = where.offset, where.offset + size
        for start, length in list(self.stack):
            if start < last and first < start + length:
                del self.stack[start, length]
        self.stack[first, size] = lanes.low(value, 8 * size)

    def push(self, value: Value) -> None:
        """Push 8 bytes."""
        top = self.registers.get("rsp")
        if not isinstance(top, Pointer):
            raise PathEnds()
        self.registers["rsp"] = Pointer(top.base, top.offset - 8)
        self.store(Pointer(top.base, top.offset - 8), 8, value)

    def pop(self) -> Value:
        """Pop 8 bytes."""
        top = self.registers.get("rsp")
        if not isinstance(top, Pointer) or top.base != "stack":
            raise PathEnds()
        self.registers["rsp"] = Pointer("stack", top.offset + 8)
        return self._load_stack(top.offset, 8)
