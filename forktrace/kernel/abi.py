"""What a program must know of the architecture to ask its kernel for probes and BPF."""

from __future__ import annotations

import os
from dataclasses import dataclass

from forktrace.errors import Unsupported


@dataclass(frozen=True)
class Abi:
    """Numbers of one architecture.

    ``perf_event_open`` and ``bpf`` are system calls. ``ip`` is the offset of the
    instruction pointer in struct pt_regs, in bytes; in a kprobe it stands ``past``
    bytes behind the probed instruction. A kprobe on a function that begins with one of
    ``landings`` is placed behind it (arch_adjust_kprobe_addr).
    """

    perf_event_open: int
    bpf: int
    ip: int
    past: int
    landings: tuple[bytes, ...]


# endbr64, and what the kernel makes of it where no indirect call may go: a nop of four
# bytes since 5.18 (ed53a0d97192, "x86/alternative: Use .ibt_endbr_seal to seal indirect
# calls"), another one since 6.15 (gen_endbr_poison in arch/x86/include/asm/ibt.h).
ENDBR = tuple(bytes.fromhex(code) for code in ("f30f1efa", "660f1f00", "0f1f40d6"))

_ABIS = {
    "x86_64": Abi(perf_event_open=298, bpf=321, ip=128, past=1, landings=ENDBR),
    "aarch64": Abi(perf_event_open=241, bpf=280, ip=256, past=0, landings=()),
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
