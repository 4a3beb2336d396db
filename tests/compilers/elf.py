"""Reads functions and symbols out of a linked program."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from forktrace.kernel.text import Text

_SYMBOLS = 2  # SHT_SYMTAB
_FUNCTION = 2  # STT_FUNC


class _Section(NamedTuple):
    kind: int
    address: int
    offset: int
    size: int
    link: int


class Program:
    """An x86-64 program that lies where it was linked to."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        table = struct.unpack_from("<Q", self._data, 0x28)[0]
        size, count = struct.unpack_from("<HH", self._data, 0x3A)
        self._sections = [self._section(table + n * size) for n in range(count)]
        self.symbols = {name: at for name, at, _, _ in self._symbols()}
        self._functions = {
            name: (at, size, index)
            for name, at, size, index in self._symbols()
            if index
        }
        self._names = {at: name for name, at in self.symbols.items()}

    def variants(self, name: str) -> Iterator[Text]:
        """Yield a function, and what compilers made of it: ``name.isra.0``."""
        for each in self._functions:
            if each == name or each.startswith(name + "."):
                yield self.text(each)

    def text(self, name: str) -> Text:
        """Return a function's code."""
        at, size, index = self._functions[name]
        section = self._sections[index]
        start = section.offset + at - section.address
        return Text(name, at, self._data[start : start + size])

    def name_at(self, address: int) -> str:
        """Name what begins at an address, empty when nothing does."""
        return self._names.get(address, "")

    def _section(self, at: int) -> _Section:
        _, kind, _, address, offset, size, link = struct.unpack_from(
            "<IIQQQQI", self._data, at
        )
        return _Section(kind, address, offset, size, link)

    def _symbols(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield (name, address, size, section), the last 0 for what is no function."""
        for table in self._sections:
            if table.kind != _SYMBOLS:
                continue
            names = self._sections[table.link].offset
            for at in range(table.offset, table.offset + table.size, 24):
                name, info, _, index, value, size = struct.unpack_from(
                    "<IBBHQQ", self._data, at
                )
                end = self._data.index(b"\0", names + name)
                text = self._data[names + name : end].decode()
                function = info & 15 == _FUNCTION and 0 < index < len(self._sections)
                yield text, value, size, index if function else 0
