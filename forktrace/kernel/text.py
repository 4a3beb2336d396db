"""The running kernel's machine code: what a piece of it is, and /proc/kcore."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from forktrace.kernel.symbols import Symbol

KCORE = "/proc/kcore"

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_PT_LOAD = 1


class Unreadable(Exception):
    """Why the kernel's text cannot be read, in a few words."""


class Text(NamedTuple):
    """One function's machine code and where it lies in the kernel."""

    name: str
    address: int
    code: bytes

    def holds(self, address: int) -> bool:
        """Tell whether ``address`` lies in the function."""
        return 0 <= address - self.address < len(self.code)


ReadText = Callable[[Symbol], Text]
"""Returns a function's code, or raises Unreadable."""


class _Segment(NamedTuple):
    address: int
    size: int
    offset: int


def read_kcore(symbol: Symbol, path: str = KCORE) -> Text:
    """Return the code of a function.

    Needs CAP_SYS_RAWIO and no lockdown in confidentiality mode. Raises Unreadable.
    """
    if symbol.address == 0 or symbol.size == 0:
        raise Unreadable("the kernel hides its addresses (kptr_restrict, or not root)")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unreadable(f"there is no {path} (CONFIG_PROC_KCORE)") from None
    except PermissionError:
        raise Unreadable(f"{path} is closed to us (not root, or lockdown)") from None
    except OSError as error:
        raise Unreadable(f"cannot open {path}: {error.strerror}") from None
    try:
        code = _read(descriptor, symbol.address, symbol.size, path)
    # OverflowError: no file has such a place.
    except (OSError, OverflowError, struct.error) as error:
        raise Unreadable(f"cannot read {path}: {error}") from None
    finally:
        os.close(descriptor)
    return Text(symbol.name, symbol.address, code)


def _read(descriptor: int, address: int, size: int, path: str) -> bytes:
    for segment in _segments(descriptor):
        inside = address - segment.address
        if inside >= 0 and inside + size <= segment.size:
            code = os.pread(descriptor, size, segment.offset + inside)
            if len(code) == size:
                return code
    raise Unreadable(f"{path} does not hold the address {address:#x}")


def _segments(descriptor: int) -> list[_Segment]:
    header = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
    magic, table, count = header[0], header[5], header[10]
    if magic[:5] != b"\x7fELF\x02":
        raise Unreadable("/proc/kcore is no 64-bit ELF file")
    raw = os.pread(descriptor, count * _SEGMENT.size, table)
    return [
        _Segment(address, size, offset)
        for kind, _, offset, address, _, size, _, _ in _SEGMENT.iter_unpack(raw)
        if kind == _PT_LOAD
    ]
