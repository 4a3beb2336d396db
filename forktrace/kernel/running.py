"""The kernel that runs now, as everything above it needs to know it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from forktrace.kernel import page_copies
from forktrace.kernel.btf import Btf
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import SYMBOLS, Reading, Rule, read_rule
from forktrace.kernel.symbols import Symbols
from forktrace.kernel.text import ReadText, read_kcore

AROUND_DUP_MMAP = ("uprobe_start_dup_mmap", "uprobe_dup_mmap", "uprobe_end_dup_mmap")
"""What dup_mmap() calls before it waits for the parent's mmap_lock, once it has it, and
when it is done; missing where CONFIG_UPROBES is not set."""

NEEDED = tuple(
    dict.fromkeys(("kernel_clone", *AROUND_DUP_MMAP, *SYMBOLS, *page_copies.SYMBOLS))
)
"""What is looked up in kallsyms: always the same, for one reading serves all."""


@dataclass(frozen=True)
class RunningKernel:
    """Release and architecture as in uname, the rule, and names for its bits."""

    release: str
    machine: str
    reading: Reading
    names: FlagNames
    symbols: Symbols

    @classmethod
    def read(cls, btf: Btf | None, read_text: ReadText = read_kcore) -> RunningKernel:
        """Ask the running kernel; without BTF or kallsyms a table may tell the rule."""
        uname = os.uname()
        try:
            symbols = Symbols.read(*NEEDED)
        except OSError:  # /proc is not mounted, or only with processes in it
            symbols = Symbols()
        return cls(
            release=uname.release,
            machine=uname.machine,
            reading=read_rule(btf, symbols, read_text=read_text),
            names=FlagNames.of(
                uname.release, btf.enum_values("VMA_", "_BIT") if btf else {}
            ),
            symbols=symbols,
        )

    @property
    def rule(self) -> Rule:
        """When this kernel copies."""
        return self.reading.rule

    def words(self) -> str:
        """Say the rule and where it was read."""
        return f"{self.rule.words(self.names)}; read from {self.rule.read_from}"
