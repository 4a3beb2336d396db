"""The few system calls that Python does not offer, as functions that raise OSError."""

from __future__ import annotations

import ctypes
import os

MAP_FIXED_NOREPLACE = 0x100000
MAP_HUGETLB = 0x40000
MADV_GUARD_INSTALL = 102
MADV_GUARD_REMOVE = 103

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_MAP_FAILED = ctypes.c_void_p(-1).value


def mmap(address: int, length: int, protection: int, flags: int, fd: int = -1) -> int:
    """Map ``length`` bytes from the start of ``fd`` and return the address."""
    mapped = _libc.mmap(address or None, length, protection, flags, fd, 0)
    if mapped is None or mapped == _MAP_FAILED:
        raise _last_error()
    return int(mapped)


def munmap(address: int, length: int) -> None:
    """Unmap a range."""
    _check(_libc.munmap(address, length))


def mprotect(address: int, length: int, protection: int) -> None:
    """Change the protection of a range."""
    _check(_libc.mprotect(address, length, protection))


def madvise(address: int, length: int, advice: int) -> None:
    """Give advice on a range; an advice unknown to this kernel raises EINVAL."""
    _check(_libc.madvise(address, length, advice))


def peek(address: int) -> bytes:
    """Read the byte at an address. A page that is not there kills the process."""
    return ctypes.c_char.from_address(address).value


def poke(address: int) -> None:
    """Write the byte at an address with the value it has."""
    byte = ctypes.c_char.from_address(address)
    byte.value = byte.value


def _check(result: int) -> None:
    if result < 0:
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
