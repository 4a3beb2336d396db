"""Who saw the kernel decide: probes that watch the decision itself.

``return`` is a kretprobe on vma_needs_copy where the compiler left it a symbol; a
variant (``.isra.0``) takes other arguments but returns the same bool. ``branch`` is a
kprobe inside copy_page_range on the first instruction of the path that copies, or one
on each such place where the compiler made several ways into it.

A fork is observed as a whole or not at all: it notes at its start whether a witness
is there, and the probes go only when the last such fork has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from forktrace.errors import Unsupported
from forktrace.kernel.running import RunningKernel
from forktrace.tracer.attach import Opener, Place, Probes

WitnessSource = Literal["return", "branch"]


@dataclass(frozen=True)
class Witness:
    """Where the decision can be seen on this kernel, and by which means."""

    source: WitnessSource
    function: str
    offsets: tuple[int, ...] = (0,)

    @property
    def program(self) -> str:
        """Name of the BPF program that listens."""
        return f"witness_{self.source}"

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it hangs."""
        at_return = self.source == "return"
        return tuple(Place(self.function, each, at_return) for each in self.offsets)

    def attach(self, programs: Mapping[str, int], opener: Opener) -> Probes:
        """Hang the program where the decision shows."""
        with Probes.all_or_none() as probes:
            for place in self.places:
                probes.kprobe(programs[self.program], place, opener)
        return probes


def find_witness(kernel: RunningKernel) -> Witness | None:
    """Return the best witness this kernel has: return, else branch, else None.

    A ``.part`` variant holds only the rest of the decision; the part before it was
    inlined and is not seen, so ``branch`` goes before it.
    """
    variants = kernel.symbols.variants("vma_needs_copy")
    whole = [symbol.name for symbol in variants if ".part." not in symbol.name]
    if whole:
        return Witness("return", whole[0])
    if kernel.reading.branches:
        return Witness("branch", "copy_page_range", kernel.reading.branches)
    return Witness("return", variants[0].name) if variants else None


def require_witness(kernel: RunningKernel) -> Witness:
    """Return the witness, or raise Unsupported saying why there is none."""
    witness = find_witness(kernel)
    if witness is None:
        reason = kernel.reading.reason or "the path that copies was not found"
        raise Unsupported(
            f"No decision can be observed on this kernel: {reason}.",
            "Use --decision rule, or auto.",
        )
    return witness
