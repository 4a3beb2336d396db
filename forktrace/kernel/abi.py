"""What a program must know of the architecture to ask its kernel for probes and BPF."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forktrace.errors import Unsupported
from forktrace.kernel.registers import ARM64, X86_64, RegisterLayout


@dataclass(frozen=True)
class Abi:
    """Numbers of one architecture.

    ``calls`` are the numbers of system calls. In a kprobe the instruction pointer
    stands ``past`` bytes behind the probed instruction. A kprobe on a function that
    begins with one of ``landings`` is placed behind it (arch_adjust_kprobe_addr).
    """

    calls: Mapping[str, int]
    registers: RegisterLayout
    past: int
    landings: tuple[bytes, ...]

    @property
    def ip(self) -> int:
        """Where the instruction pointer is in struct pt_regs, in bytes."""
        return 8 * self.registers.pc


# endbr64, and what the kernel makes of it where no indirect call may go: a nop of four
# bytes since 5.18 (ed53a0d97192, "x86/alternative: Use .ibt_endbr_seal to seal indirect
# calls"), another one since 6.15 (gen_endbr_poison in arch/x86/include/asm/ibt.h).
ENDBR = tuple(bytes.fromhex(code) for code in ("f30f1efa", "660f1f00", "0f1f40d6"))

_ABIS = {
    "x86_64": Abi(
        calls={
            "perf_event_open": 298,
            "bpf": 321,
            "userfaultfd": 323,
            "io_uring_setup": 425,
        },
        registers=X86_64,
        past=1,
        landings=ENDBR,
    ),
    "aarch64": Abi(
        calls={
            "perf_event_open": 241,
            "bpf": 280,
            "userfaultfd": 282,
            "io_uring_setup": 425,
        },
        registers=ARM64,
        past=0,
        landings=(),
    ),
}


def abi(machine: str | None = None) -> Abi:
    """Return those of ``machine`` as in uname, by default this one's."""
    machine = machine or os.uname().machine
    if machine not in _ABIS:
        raise Unsupported(
            f"forktrace does not know the architecture {machine}.",
            f"It runs on {' and '.join(_ABIS)}.",
        )
    return _ABIS[machine]


def syscall(name: str, *arguments: Any) -> int:
    """Make a system call that libc has no function for; OSError when it fails.

    Arguments are numbers, or what ctypes passes as pointers.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    passed = [ctypes.c_long(it) if isinstance(it, int) else it for it in arguments]
    result = int(libc.syscall(ctypes.c_long(abi().calls[name]), *passed))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
