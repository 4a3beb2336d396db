"""The registers of a user-space thread: struct pt_regs sorted as DWARF counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Registers(NamedTuple):
    """What an unwinder starts from; ``dwarf`` is indexed by DWARF's numbers.

    ``syscall`` is the name of the system call, empty where it is not one that forks.
    ``address_mask`` has the bits that an address can have: what is saved on the stack
    may carry more in the others.
    """

    pc: int
    sp: int
    dwarf: Sequence[int]
    syscall: str
    address_mask: int


class RegisterLayout(NamedTuple):
    """Where ``struct pt_regs`` of one architecture has them, in words of 64 bits.

    ``syscalls`` are those that come to kernel_clone() and may fork. ``address_bits``
    is how long an address of user space is.
    """

    words: int
    pc: int
    sp: int
    dwarf: Sequence[int]
    syscall: int
    syscalls: Mapping[int, str]
    address_bits: int = 64

    def read(self, words: Sequence[int]) -> Registers:
        """Sort the words."""
        mask = (1 << self.address_bits) - 1
        return Registers(
            pc=words[self.pc],
            sp=words[self.sp],
            dwarf=[words[at] & mask for at in self.dwarf],
            syscall=self.syscalls.get(words[self.syscall], ""),
            address_mask=mask,
        )


# arch/x86/include/asm/ptrace.h; in DWARF rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to
# r15, rip.
X86_64 = RegisterLayout(
    words=21,
    pc=16,
    sp=19,
    dwarf=(10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16),
    syscall=15,
    syscalls={56: "clone", 57: "fork", 435: "clone3"},
)

# arch/arm64/include/asm/ptrace.h; in DWARF x0 to x30, sp.
ARM64 = RegisterLayout(
    words=34,
    pc=32,
    sp=31,
    dwarf=tuple(range(32)),
    syscall=8,
    syscalls={220: "clone", 435: "clone3"},
    # Above them pointer authentication signs return addresses (ARMv8.3, Linux 5.0).
    address_bits=48,
)
