"""Names of the bits of vm_flags on this kernel.

The kernel's own enum wins where BTF has it: ``VMA_<NAME>_BIT``, from Linux 6.19 on
(2b6a3f061f11, "mm: declare VMA flags by bit"). Before, the bits were macros, which
BTF never carries, and the table below stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from forktrace import bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Bits 0 to 31 have kept their place since 4.14, but for bit 11. Above, places moved
# between releases (UFFD_MINOR alone was 37, 38 and 41), so only those are named that
# have not: a wrong name is worse than a number. A dash is in bits.py or nobody's.
_STANDARD = """
    read write exec shared mayread maywrite mayexec mayshare
    growsdown uffd_missing - - - locked io seq_read
    rand_read - dontexpand lockonfault account noreserve - sync
    arch_1 - dontdump softdirty - hugepage nohugepage mergeable
    high_arch_0 high_arch_1 high_arch_2 high_arch_3 high_arch_4
"""
_NAMES: dict[int, str] = {
    **dict(enumerate(_STANDARD.split())),
    39: "allow_any_uncached",
    40: "droppable",
    **{bit.number: bit.name for bit in bits.ALL},
}

_ENUM_PREFIX, _ENUM_SUFFIX = "VMA_", "_BIT"


@dataclass(frozen=True)
class FlagNames:
    """Lower-case names of the bits of vm_flags; a bit without one is ``bit_N``."""

    known: Mapping[int, str] = field(default_factory=lambda: dict(_NAMES))

    @classmethod
    def of(cls, release: str, enumerators: Mapping[str, int]) -> FlagNames:
        """Return the names on one kernel.

        ``release`` is ``uname -r``; ``enumerators`` what BTF says of the
        ``VMA_<NAME>_BIT`` (empty before 6.19).
        """
        names = dict(_NAMES)
        if version_of(release) < (5, 15):
            # VM_DENYWRITE had bit 11 until 8d0920bde5eb (5.15); it was nobody's until
            # 5dba5cc2e0ff (6.19-rc1, in 6.18.37 too) made it VM_MAYBE_GUARD.
            names[bits.MAYBE_GUARD] = "denywrite"
        return cls({**names, **_from_enum(enumerators, names)})

    def name(self, bit: int) -> str:
        """Return the name of one bit, by its number."""
        return self.known.get(bit, f"bit_{bit}")

    def names(self, flags: int) -> tuple[str, ...]:
        """Return the names of all bits set in ``flags``, in bit order."""
        return tuple(self.name(bit) for bit in bits_of(flags))

    def flags(self, names: Iterable[str]) -> int:
        """Return vm_flags with the bits of these names; what has none is left out."""
        return sum(self._values.get(name, 0) for name in names)

    @cached_property
    def _values(self) -> Mapping[str, int]:
        return {name: 1 << bit for bit, name in self.known.items()}


def _from_enum(
    enumerators: Mapping[str, int], names: Mapping[int, str]
) -> dict[int, str]:
    """Return one name a bit: our own among its aliases, else the kernel's first."""
    found: dict[int, str] = {}
    for whole, bit in enumerators.items():
        name = whole[len(_ENUM_PREFIX) : -len(_ENUM_SUFFIX)].lower()
        if bit not in found or names.get(bit) == name:
            found[bit] = name
    return found


def bits_of(flags: int) -> Iterable[int]:
    """Return the numbers of the bits set in ``flags``, lowest first."""
    return [bit for bit in range(flags.bit_length()) if flags >> bit & 1]


def version_of(release: str) -> tuple[int, int, int]:
    """Return (version, patch level, sublevel) of a ``uname -r``; (0, 0, 0) if odd."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)
