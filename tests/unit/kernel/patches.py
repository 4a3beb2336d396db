"""What ftrace and kprobes write into a kernel's code, by architecture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patches:
    """Bytes that other tracers put into functions.

    ``nops`` are what ftrace finds at a function's entry, ``idle`` what it leaves there
    when nobody traces. ``calls`` are what it puts there, to its own code or a BPF
    trampoline; ``breakpoint`` stands there while it does, or when a kprobe does.
    ``probes`` are what kprobes put on an instruction anywhere.
    """

    nops: tuple[bytes, ...]
    idle: bytes
    calls: tuple[bytes, ...]
    breakpoint: bytes
    probes: tuple[bytes, ...]

    def entry_of(self, code: bytes) -> int:
        """Return where in a function's code the nops lie."""
        return next(at for at in (0, 4) if code[at:].startswith(self.nops))


_INT3, _JUMP = b"\xcc", bytes.fromhex("e9fecaad0b")
_BRK = bytes.fromhex("800020d4")  # brk #4, KPROBES_BRK_IMM

PATCHES = {
    "x86_64": Patches(
        nops=(bytes.fromhex("0f1f440000"), bytes.fromhex("6666666690")),
        idle=bytes.fromhex("0f1f440000"),
        calls=(bytes.fromhex("e8fecaad0b"), _JUMP),
        breakpoint=_INT3,
        probes=(_INT3, _JUMP),
    ),
    # arch/arm64/kernel/ftrace.c: "mov x9, x30" is there from the start, and "bl" or a
    # nop behind it. There are no optimized kprobes.
    "aarch64": Patches(
        nops=(bytes.fromhex("1f2003d51f2003d5"),),
        idle=bytes.fromhex("e9031eaa1f2003d5"),
        calls=(bytes.fromhex("e9031eaafecaad97"),),
        breakpoint=_BRK,
        probes=(_BRK,),
    ),
}


def patch(code: bytes, at: int, new: bytes) -> bytes:
    """Return the code with ``new`` at ``at``."""
    return code[:at] + new + code[at + len(new) :]
