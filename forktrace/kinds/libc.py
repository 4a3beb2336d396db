"""The few system calls that Python does not offer, as functions that raise OSError."""

from __future__ import annotations

import ctypes
import os
import platform

MAP_FIXED_NOREPLACE = 0x100000
MAP_HUGETLB = 0x40000
MADV_GUARD_INSTALL = 102
MADV_GUARD_REMOVE = 103

_NUMBERS = {
    "x86_64": {"perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425},
    "aarch64": {"perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425},
}

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
_libc.syscall.restype = ctypes.c_long

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


def syscall(name: str, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call that libc has no function for and return its result."""
    try:
        number = _NUMBERS[platform.machine()][name]
    except KeyError:
        raise OSError(
            0, f"the number of {name} on {platform.machine()} is not known"
        ) from None
    passed = [
        ctypes.c_long(value) if isinstance(value, int) else value for value in arguments
    ]
    result = _libc.syscall(ctypes.c_long(number), *passed)
    _check(result)
    return int(result)


def _check(result: int) -> None:
    if result < 0:
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
