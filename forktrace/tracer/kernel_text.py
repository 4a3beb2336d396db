"""The kernel's machine code, read by a BPF program: also where /proc/kcore is closed.

Containers hide /proc/kcore, and without CAP_SYSLOG the addresses in /proc/kallsyms. A
kprobe's program sees the address of its function in the registers and may read kernel
text; it needs CAP_BPF and CAP_PERFMON, as all of tracing does. The program is a dozen
instructions, and is written down as such: compiling it would take longer than all else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import ExitStack

from forktrace.errors import Unsupported
from forktrace.kernel.abi import Abi, abi
from forktrace.kernel.symbols import Symbol
from forktrace.kernel.text import Text, Unreadable, read_kcore
from forktrace.libbpf import MappedArray, MapShape
from forktrace.tracer.attach import SET_BPF, Place, open_kprobe
from forktrace.tracer.objects import (
    KPROBE,
    create_map,
    load_program,
    unlimit_locked_memory,
)

_CODE = 1 << 16
"""Bytes that one reading brings."""
_UNSIZED = 1 << 14
"""Bytes that are taken of a function whose end is not known."""
_FORK = "kernel_clone"

# include/uapi/linux/bpf.h
_ARRAY, _MMAPABLE = 2, 1 << 10
_MAP_LOOKUP_ELEM, _PROBE_READ_KERNEL = 1, 113


class _Reading(ctypes.Structure):
    """The value of the map: ``status`` is 1 until the code was read."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("status", ctypes.c_int64),
        ("code", ctypes.c_ubyte * _CODE),
    )


def read_text(symbol: Symbol) -> Text:
    """Return a function's code: from /proc/kcore, else through a probe.

    Raises Unreadable.
    """
    try:
        return read_kcore(symbol)
    except Unreadable as closed:
        try:
            return read_by_probe(symbol)
        except (OSError, Unsupported) as error:
            said = error.strerror if isinstance(error, OSError) else error.message
            raise Unreadable(f"{closed}; no probe could read it: {said}") from None


def read_by_probe(symbol: Symbol) -> Text:
    """Return a function's code as a BPF program read it. Raises OSError, Unreadable.

    It runs in a fork that is made for it. copy_page_range and what belongs to it are
    called by each.
    """
    machine = abi()
    unlimit_locked_memory()
    with ExitStack() as opened:
        fd = create_map(MapShape(_ARRAY, 4, ctypes.sizeof(_Reading), 1, _MMAPABLE))
        opened.callback(os.close, fd)
        shared = MappedArray(fd, _Reading)
        opened.callback(shared.close)
        program = load_program(_program(machine, fd), KPROBE)
        opened.callback(os.close, program)
        return _read(machine, symbol, shared, program)


def _read(machine: Abi, symbol: Symbol, shared: MappedArray, program: int) -> Text:
    address = symbol.address
    if not address:
        run_at(symbol.name, program)
        address = shared.read().address
        if not address:
            raise Unreadable(f"{symbol.name} was not called by a fork")
        address -= machine.past
    # Not by a probe on the function itself, which may patch it.
    landing = 4 if machine.landings and not symbol.address else 0
    shared.write(_Reading(address=address - landing, status=1))
    run_at(_FORK, program)
    reading = shared.read()
    if reading.status:
        raise Unreadable(f"the kernel's memory at {address:#x} cannot be read")
    code = bytes(reading.code)
    if landing and not code.startswith(machine.landings):
        code, landing = code[landing:], 0
    return Text(symbol.name, address - landing, code[: symbol.size or _UNSIZED])


def run_at(function: str, program: int) -> None:
    """Run the program at a function while this process forks once."""
    probe = open_kprobe(Place(function))
    try:
        fcntl.ioctl(probe, SET_BPF, program)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    finally:
        os.close(probe)


def _program(machine: Abi, map_fd: int) -> bytes:
    """Note the address of the probed function, or read the code at a noted address."""

    def op(code: int, dst: int, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
        return struct.pack("<BBhi", code, dst | src << 4, offset, value)

    return b"".join(
        (
            op(0x79, 7, 1, machine.ip),  # r7 = regs->ip
            op(0x62, 10, 0, -4),  # key = 0
            op(0xBF, 2, 10),  # r2 = &key
            op(0x07, 2, 0, 0, -4),
            op(0x18, 1, 1, 0, map_fd),  # r1 = the map
            op(0, 0),
            op(0x85, 0, 0, 0, _MAP_LOOKUP_ELEM),
            op(0x15, 0, 0, 12),  # nothing there: end
            op(0xBF, 8, 0),  # r8 = the value
            op(0x79, 3, 8),  # r3 = its address
            op(0x55, 3, 0, 3),  # if there is none yet
            op(0x7B, 8, 7),  # it is r7
            op(0xB7, 0),
            op(0x95, 0),
            op(0xBF, 1, 8),  # else read what is there
            op(0x07, 1, 0, 0, _Reading.code.offset),
            op(0xB7, 2, 0, 0, _CODE),
            op(0x85, 0, 0, 0, _PROBE_READ_KERNEL),
            op(0x7B, 8, 0, _Reading.status.offset),
            op(0xB7, 0),
            op(0x95, 0),
        )
    )
