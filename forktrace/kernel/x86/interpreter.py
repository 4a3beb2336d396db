"""Follows all paths of copy_page_range on x86-64, through calls it was split into.

Conditions that ask for vm_flags or anon_vma fork a path; any other condition, a call
or a store ends it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import capstone
from capstone import x86_const as x86

from forktrace.kernel import lanes
from forktrace.kernel.decode import Path, Undecodable
from forktrace.kernel.lanes import ONE, Opaque, Pointer
from forktrace.kernel.x86 import operations
from forktrace.kernel.x86.state import PathEnds, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forktrace.kernel.decode import Layout, Text

_MOST_STEPS = 20_000
"""Instructions followed over all paths before giving up; real kernels need 500."""

_CALLER = Opaque("the address that copy_page_range returns to")
_ENTRY_RSP = Pointer("stack", 0)
_INT3, _CALL, _JUMP = 0xCC, 0xE8, 0xE9
# The second is what 5.10 writes, arch/x86/include/asm/nops.h.
_NOPS = (b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90")


class Interpreter:
    """Follows all paths of one function; see ``decode.decode`` for the arguments."""

    def __init__(
        self,
        function: Text,
        layout: Layout,
        callees: Sequence[Text],
        thunks: frozenset[int],
    ) -> None:
        """Prepare the disassembler."""
        self._function = function
        self._layout = layout
        self._texts = [function, *callees]
        self._callees = {callee.address for callee in callees}
        self._thunks = thunks
        self._disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._disassembler.detail = True

    def paths(self) -> list[Path]:
        """Return every path from the entry to where it ends."""
        # The C calling convention: copy_page_range(dst_vma, src_vma).
        registers: dict[str, lanes.Value] = {
            "rdi": Pointer("dst", 0),
            "rsi": Pointer("src", 0),
            "rsp": _ENTRY_RSP,
        }
        start = self._function.address
        pending = [State(start, self._layout, registers, {(0, 8): _CALLER})]
        done: list[Path] = []
        steps = 0
        while pending:
            state = pending.pop()
            try:
                while True:
                    steps += 1
                    if steps > _MOST_STEPS:
                        raise Undecodable("the code is too long to follow")
                    pending.extend(self._step(state))
            except PathEnds as end:
                done.append(_path(state, end))
        return done

    def jumps(self) -> Mapping[int, int]:
        """Return the target of each direct jump in the function, by its address."""
        self._disassembler.skipdata = True
        code, base = self._function.code, self._function.address
        found = {
            at: int(operand, 16)
            for at, _, name, operand in self._disassembler.disasm_lite(code, base)
            if name.startswith("j") and operand.startswith("0x")
        }
        self._disassembler.skipdata = False
        return found

    def _step(self, state: State) -> Iterator[State]:
        """Run the instruction at ``state.at``; yield the other way of a fork."""
        if state.at in self._function:
            state.trace += (state.at,)
        patch = self._entry_patch(state.at)
        if patch:
            state.at += patch
            return
        insn = self._decode(state.at)
        state.at += insn.size
        name = insn.mnemonic
        if name == "jmp":
            self._jump(state, insn)
        elif name == "call":
            self._call(state, insn)
        elif name == "ret":
            self._return(state)
        elif name.startswith("j"):
            yield from self._fork(state, insn)
        else:
            operations.run(state, insn)

    # -- control flow ------------------------------------------------------------

    def _jump(self, state: State, insn: Any) -> None:
        target = _target(insn)
        if target is None:
            raise PathEnds()
        if target in self._thunks:
            self._return(state)
        elif self._holds(target):
            state.at = target
        else:
            # A tail call leaves with the stack as it was at the entry. Anything else
            # is a tracer's: the detour of an optimized kprobe.
            is_tail_call = state.registers.get("rsp") == _ENTRY_RSP
            raise PathEnds(patched=not is_tail_call)

    def _call(self, state: State, insn: Any) -> None:
        target = _target(insn)
        if target is None or target not in self._callees:
            raise PathEnds()
        state.push(Opaque(("return", insn.address + insn.size)))
        state.at = target

    def _return(self, state: State) -> None:
        target = state.pop()
        if target == _CALLER:
            result = state.registers.get("rax", lanes.unknown())
            raise PathEnds(skips=lanes.number_of(result, 32) == 0)
        origin = target.origin if isinstance(target, Opaque) else None
        if not isinstance(origin, tuple) or origin[0] != "return":
            raise PathEnds()
        state.at = origin[1]

    def _fork(self, state: State, insn: Any) -> Iterator[State]:
        """Go on after a conditional jump; yield the state where it is taken."""
        target = _target(insn)
        if target is None or not self._holds(target):
            raise PathEnds(state.at)  # into the function's .cold part
        answer = state.settle(state.flags.condition(insn.mnemonic[1:]))
        if answer is None:
            raise PathEnds(state.at, target)
        if answer.atoms:
            taken = state.fork()
            taken.at = target
            taken.learn(answer.atoms, any_set=not answer.negated)
            yield taken
            state.learn(answer.atoms, any_set=answer.negated)
        elif answer == ONE:
            state.at = target

    # -- code ----------------------------------------------------------------------

    def _holds(self, address: int) -> bool:
        return any(address in text for text in self._texts)

    def _decode(self, at: int) -> Any:
        for text in self._texts:
            if at not in text:
                continue
            start = at - text.address
            if text.code[start] == _INT3:
                raise PathEnds(patched=True)
            code = text.code[start : start + 15]
            insn = next(self._disassembler.disasm(code, at, 1), None)
            if insn is not None:
                return insn
            raise Undecodable(f"no instruction at {text.name}+{start:#x}")
        raise Undecodable("the code goes on outside the function")

    def _entry_patch(self, at: int) -> int:
        """Return the size of what tracers patch at a function's entry, else 0.

        Compilers leave 5 bytes there (-mfentry), after an endbr64 or what became of
        one: a call that keeps all registers, a nop, or the nop with a breakpoint on it.
        An fexit program's trampoline is reached by a jump where the kernel can do that
        (CONFIG_DYNAMIC_FTRACE_WITH_JMP, 0c3772a8db1f "x86/ftrace: Implement
        DYNAMIC_FTRACE_WITH_JMP"); like the call it goes on behind those 5 bytes.
        """
        for text in self._texts:
            start = at - text.address
            site = text.code[start : start + 5] if start in (0, 4) else b""
            if len(site) < 5 or (start and self._decode(text.address).size != start):
                continue
            if site[0] == _INT3 and any(site[1:] == nop[1:] for nop in _NOPS):
                return 5
            target = (at + 5 + struct.unpack("<i", site[1:])[0]) & (2**64 - 1)
            if site[0] == _CALL and target not in self._callees:
                return 5
            if site[0] == _JUMP and not self._holds(target):
                return 5
        return 0


def _path(state: State, end: PathEnds) -> Path:
    return Path(
        state.trace, state.clear, state.found, end.skips, end.patched, end.exits
    )


def _target(insn: Any) -> int | None:
    """Return where a direct jump or call goes, None for an indirect one."""
    operand = insn.operands[0]
    # capstone has immediates as signed numbers; kernel addresses are high.
    return operand.imm & (2**64 - 1) if operand.type == x86.X86_OP_IMM else None
