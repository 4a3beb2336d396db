"""Which functions the running kernel has and where, from /proc/kallsyms.

The file is about 10 MB of text that the kernel formats anew for each reader: it is
read once, in pieces, and only what was asked for is kept (about 100 ms).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KALLSYMS = "/proc/kallsyms"
_PIECE = 1 << 20
_ADDRESS = re.compile(rb"^([0-9a-f]{1,16}) ", re.MULTILINE)

# What compilers append to a function they changed: GCC's .isra.N, .constprop.N and
# .part.N (also several), Clang's .llvm.N. Both put what hardly ever runs elsewhere, as
# .cold, which is no function of its own (.cold.N before GCC 9).
_VARIANT = rb"(?:\.(?:isra|constprop|part|llvm)\.\d+)*(?:\.cold(?:\.\d+)?)?"


@dataclass(frozen=True)
class Symbol:
    """One function: ``address`` is 0 where kptr_restrict hides it.

    ``size`` is the distance to the next symbol in bytes (so padding counts), 0 when
    unknown.
    """

    name: str
    address: int
    size: int

    @property
    def is_variant(self) -> bool:
        """Tell whether the compiler changed it: its arguments mean nothing then."""
        return "." in self.name

    @property
    def is_cold(self) -> bool:
        """Tell whether it is a part of a function that lies elsewhere."""
        return is_cold(self.name)


@dataclass(frozen=True)
class Symbols:
    """The functions that were asked for, by their name in kallsyms."""

    found: Mapping[str, Symbol] = field(default_factory=dict)

    @classmethod
    def read(cls, *names: str, path: str = KALLSYMS) -> Symbols:
        """Find the functions ``names`` and the compiler's variants of them.

        ``name*`` stands for all that begin so.
        The kernel writes some 10 MB for each reading, so one answer is kept.
        """
        return cls(_read(names, path))

    def get(self, name: str) -> Symbol | None:
        """Return the function of exactly this name."""
        return self.found.get(name)

    def variants(self, name: str) -> tuple[Symbol, ...]:
        """Return ``name`` itself, if it is there, then the variants of it."""
        matching = [
            symbol
            for symbol in self.found.values()
            if symbol.name.split(".", 1)[0] == name and not symbol.is_cold
        ]
        return tuple(sorted(matching, key=lambda s: (s.is_variant, s.name)))

    def cold_parts(self, *names: str) -> tuple[Symbol, ...]:
        """Return the parts of these functions, and of variants, that lie elsewhere."""
        return tuple(
            symbol
            for symbol in self.found.values()
            if symbol.name.split(".", 1)[0] in names and symbol.is_cold
        )

    def name_at(self, address: int) -> str:
        """Return the name of what begins at an address, empty if nothing asked for."""
        known = (name for name, each in self.found.items() if each.address == address)
        return next(known, "")

    def __contains__(self, name: str) -> bool:
        """Tell whether the kernel has a function of exactly this name."""
        return name in self.found


def is_cold(name: str) -> bool:
    """Tell whether a symbol is a part of a function that lies elsewhere."""
    return ".cold" in name


@functools.lru_cache(maxsize=1)
def _read(names: tuple[str, ...], path: str) -> dict[str, Symbol]:
    with open(path, "rb") as stream:
        return dict(_scan(stream, names))


def _scan(stream: BinaryIO, names: tuple[str, ...]) -> Iterator[tuple[str, Symbol]]:
    needles = [b" " + name.rstrip("*").encode() for name in names]
    # The kernel's own lines end after the name; a module's go on with "\t[module]".
    line = re.compile(
        rb"^([0-9a-f]{1,16}) [tTwW] ((?:%s)%s)\n"
        % (b"|".join(_escaped(names)), _VARIANT),
        re.MULTILINE,
    )
    for text in _pieces(stream):
        if any(needle in text for needle in needles):
            for match in line.finditer(text):
                address = int(match[1], 16)
                size = _distance(text, match.end(), address)
                yield match[2].decode(), Symbol(match[2].decode(), address, size)


def _escaped(names: tuple[str, ...]) -> list[bytes]:
    return [re.escape(name.encode()).replace(rb"\*", rb"\w*") for name in names]


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines, each piece overlapping the next by some lines.

    The overlap keeps the symbol after a match in the same piece as the match.
    """
    rest = b""
    while block := stream.read(_PIECE):
        rest += block
        end = rest.rfind(b"\n") + 1
        yield rest[:end]
        rest = rest[rest.rfind(b"\n", 0, max(0, end - 4096)) + 1 :]
    yield rest


def _distance(text: bytes, position: int, address: int) -> int:
    """Return the distance to the first higher address that follows in ``text``."""
    for follower in _ADDRESS.finditer(text, position, position + 4096):
        other = int(follower[1], 16)
        if other > address:
            return other - address
    return 0
