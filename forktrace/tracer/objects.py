"""Put maps and programs into the kernel with bpf(2): as data, without a compiler.

A descriptor is all that holds what was made: it goes when the last one is closed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from forktrace.kernel.abi import syscall
from forktrace.libbpf import MapShape

# include/uapi/linux/bpf.h
_MAP_CREATE, _PROG_LOAD = 0, 5
KPROBE, TRACING = 2, 26
FENTRY, FEXIT = 24, 25
"""Types of programs, and where a TRACING program hangs (expected_attach_type)."""
_LOAD_64_BITS, _PSEUDO_MAP_FD = 0x18, 1

_INSTRUCTION = struct.Struct("<BBhi")
_ATTRIBUTES = 128
_NAME = 15
_LOG_BYTES = 1 << 20
_TRIES = 5


@dataclass(frozen=True)
class Code:
    """The instructions of a program; where they name a map they hold its place.

    The place is that in ``Compiled.maps``, in order.
    """

    instructions: bytes

    def linked(self, fds: Sequence[int]) -> bytes:
        """Return the instructions with the maps' descriptors."""
        return _with_maps(self.instructions, fds.__getitem__)

    @classmethod
    def unlinked(cls, instructions: bytes, fds: Sequence[int]) -> Code:
        """Return the code of a program that names maps by descriptor.

        Raises ValueError when one is not of ``fds``.
        """
        return cls(_with_maps(instructions, list(fds).index))


def _with_maps(instructions: bytes, change: Callable[[int], int]) -> bytes:
    """Replace the number by which each instruction names a map."""
    changed = bytearray(instructions)
    for place in range(0, len(changed), _INSTRUCTION.size):
        code, registers, offset, value = _INSTRUCTION.unpack_from(changed, place)
        if code == _LOAD_64_BITS and registers >> 4 == _PSEUDO_MAP_FD:
            named = (code, registers, offset, change(value))
            _INSTRUCTION.pack_into(changed, place, *named)
    return bytes(changed)


@dataclass(frozen=True)
class Compiled:
    """All that a compiler made of a text: what is needed to load it again."""

    maps: Mapping[str, MapShape]
    programs: Mapping[str, Code]


def unlimit_locked_memory() -> None:
    """Let maps be made whatever RLIMIT_MEMLOCK says: it counts them before 5.11.

    Since then memory cgroups do (commit d5299b67dd59, "bpf: Memcg-based memory
    accounting for bpf maps").
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))


def create_map(shape: MapShape, name: str = "") -> int:
    """Return the descriptor of a new map. Raises OSError."""
    packed = struct.pack("<7I16s", *shape, 0, 0, name.encode()[:_NAME])
    return _bpf(_MAP_CREATE, packed)


def load_program(
    instructions: bytes, kind: int, name: str = "", hang: int = 0, function: int = 0
) -> int:
    """Return the descriptor of a program that the verifier accepted.

    ``hang`` (FENTRY, FEXIT) and ``function``, an id in vmlinux' BTF, are for TRACING.
    Raises OSError; what the verifier says against the program goes to stderr.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_ = ctypes.create_string_buffer(b"GPL")

    def load(log: ctypes.Array[ctypes.c_char] | None) -> int:
        attributes = struct.pack(
            "<IIQQIIQII16sIIIIQIIQII",
            *(kind, len(instructions) // _INSTRUCTION.size),
            *(ctypes.addressof(code), ctypes.addressof(license_)),
            *((1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)),
            *(0, 0, name.encode()[:_NAME], 0, hang),
            *(0, 0, 0, 0, 0, 0, 0, function),
        )
        return _bpf(_PROG_LOAD, attributes)

    try:
        return _while_interrupted(lambda: load(None))
    except OSError:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        with suppress(OSError):
            return load(log)
        os.write(2, log.value)
        raise


def _while_interrupted(load: Callable[[], int]) -> int:
    """Try again where a signal has ended the verifier: EAGAIN, as libbpf does."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            return load()
    return load()


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(_ATTRIBUTES, b"\0"))
    return syscall("bpf", command, buffer, _ATTRIBUTES)
