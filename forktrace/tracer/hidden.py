"""Where functions lie and how long they are, also where /proc/kallsyms hides it.

It does without CAP_SYSLOG. A kprobe's program sees where it runs, and the kernel writes
any address as name+offset/size for it (bpf_snprintf, Linux 5.13, commit 7b15523a989b).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from forktrace import libbpf
from forktrace.errors import Unsupported
from forktrace.kernel.abi import abi
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.libbpf import MappedArray, MapShape
from forktrace.tracer.kernel_text import run_at
from forktrace.tracer.objects import (
    KPROBE,
    create_map,
    load_program,
    unlimit_locked_memory,
)

# include/uapi/linux/bpf.h
_ARRAY, _MMAPABLE, _READ_ONLY = 2, 1 << 10, 1 << 7
_MAP_LOOKUP_ELEM, _SNPRINTF = 1, 165
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2

_FORMAT = b"%pS\0"
_TOLD = re.compile(rb"\S+\+0x([0-9a-f]+)/0x([0-9a-f]+)")


class _Told(ctypes.Structure):
    """The value of the map: where the program ran, and what the kernel calls it."""

    _fields_ = (("address", ctypes.c_uint64), ("text", ctypes.c_char * 128))


def located(symbols: Symbols, names: Iterable[str]) -> Symbols:
    """Return the symbols, those of ``names`` with address and size as far as possible.

    What is hidden is found only if a fork, or the new child, calls it. A probe stands
    there meanwhile, for some milliseconds.
    """
    hidden = [
        each for name in names for each in symbols.variants(name) if not each.address
    ]
    found = dict(symbols.found)
    with suppress(OSError, Unsupported), ExitStack() as opened:
        if hidden:
            unlimit_locked_memory()
            told, program = _load(opened)
            for symbol in hidden:
                found[symbol.name] = _locate(symbol, told, program)
    return Symbols(found)


def _locate(symbol: Symbol, told: MappedArray, program: int) -> Symbol:
    told.write(_Told())
    run_at(symbol.name, program)
    answer = told.read()
    match = _TOLD.match(answer.text)
    if not match:
        return symbol
    offset, size = (int(number, 16) for number in match.groups())
    return Symbol(symbol.name, answer.address - offset, size)


def _load(opened: ExitStack) -> tuple[MappedArray, int]:
    fd = create_map(MapShape(_ARRAY, 4, ctypes.sizeof(_Told), 1, _MMAPABLE))
    opened.callback(os.close, fd)
    told = MappedArray(fd, _Told)
    opened.callback(told.close)
    how = create_map(MapShape(_ARRAY, 4, len(_FORMAT), 1, _READ_ONLY))
    opened.callback(os.close, how)
    libbpf.put_number(how, 0, int.from_bytes(_FORMAT, "little"))
    libbpf.freeze(how)
    program = load_program(_program(fd, how), KPROBE)
    opened.callback(os.close, program)
    return told, program


def _program(map_fd: int, format_fd: int) -> bytes:
    """Note where it runs, and have the kernel write that in words."""

    def op(code: int, dst: int, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
        return struct.pack("<BBhi", code, dst | src << 4, offset, value)

    return b"".join(
        (
            op(0x79, 7, 1, abi().ip),  # r7 = regs->ip
            op(0x7B, 10, 7, -8),  # the only argument of the format
            op(0x62, 10, 0, -12),  # key = 0
            op(0xBF, 2, 10),  # r2 = &key
            op(0x07, 2, 0, 0, -12),
            op(0x18, 1, _PSEUDO_MAP_FD, 0, map_fd),
            op(0, 0),
            op(0x85, 0, 0, 0, _MAP_LOOKUP_ELEM),
            op(0x15, 0, 0, 10),  # nothing there: end
            op(0x7B, 0, 7, _Told.address.offset),
            op(0xBF, 1, 0),  # r1 = where to write
            op(0x07, 1, 0, 0, _Told.text.offset),
            op(0xB7, 2, 0, 0, _Told.text.size),
            op(0x18, 3, _PSEUDO_MAP_VALUE, 0, format_fd),
            op(0, 0),
            op(0xBF, 4, 10),  # r4 = the arguments
            op(0x07, 4, 0, 0, -8),
            op(0xB7, 5, 0, 0, 8),
            op(0x85, 0, 0, 0, _SNPRINTF),
            op(0xB7, 0),
            op(0x95, 0),
        )
    )
