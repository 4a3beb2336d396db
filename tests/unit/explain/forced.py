"""Have any process fork, as a debugger would, and look at the child before it runs.

The child is stopped by ptrace before its first instruction: its VmPTE is what fork()
allocated, to the page. The parent goes on as if nothing had been. x86-64 only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace import procfs
from tests.patience import PATIENCE

_SEIZE, _INTERRUPT, _CONT, _DETACH = 0x4206, 0x4207, 7, 17
_GETREGS, _SETREGS, _GETEVENTMSG, _SINGLESTEP = 12, 13, 0x4201, 9
_OPTION_TRACEFORK, _OPTION_EXITKILL = 1 << 1, 1 << 20
_EVENT_FORK = 1
_FORK = 57
_R15_TO_GS = 27
_ORIG_RAX, _RAX, _RIP = 15, 10, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_Registers = ctypes.c_ulonglong * _R15_TO_GS

needs_ptrace = pytest.mark.skipif(
    platform.machine() != "x86_64" or os.getuid() != 0,
    reason="makes other processes fork by ptrace: x86-64, as root",
)


@contextmanager
def forked(pid: int) -> Iterator[int]:
    """Fork ``pid`` and give the child, which never runs, until the block ends."""
    _ptrace(_SEIZE, pid, 0, _OPTION_TRACEFORK)
    _ptrace(_INTERRUPT, pid)
    _stopped(pid)
    saved = _Registers()
    _ptrace(_GETREGS, pid, 0, ctypes.addressof(saved))
    altered = _Registers(*saved)
    altered[_RIP], altered[_RAX] = _syscall_instruction(pid), _FORK
    altered[_ORIG_RAX] = 2**64 - 1
    child = 0
    try:
        _ptrace(_SETREGS, pid, 0, ctypes.addressof(altered))
        _ptrace(_SINGLESTEP, pid)
        while _stopped(pid) >> 16 != _EVENT_FORK:
            _ptrace(_SINGLESTEP, pid)
        number = ctypes.c_ulong()
        _ptrace(_GETEVENTMSG, pid, 0, ctypes.addressof(number))
        child = number.value
        _stopped(child)
        yield child
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0x40000000)  # __WALL
            _ptrace(_SINGLESTEP, pid)
            _stopped(pid)
        _ptrace(_SETREGS, pid, 0, ctypes.addressof(saved))
        _ptrace(_DETACH, pid)


def fork_cost(pid: int) -> int:
    """Return the bytes of page tables that a fork of ``pid`` allocates now."""
    with forked(pid) as child:
        return procfs.vm_pte_bytes(child)


def _syscall_instruction(pid: int) -> int:
    vdso = next(vma for vma in procfs.read_smaps(pid) if vma.name == "[vdso]")
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(vdso.start)
        return vdso.start + memory.read(vdso.size).index(b"\x0f\x05")


def _stopped(pid: int, patience: float = PATIENCE) -> int:
    """Wait until ``pid`` stops and return its status."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG | 0x40000000)
        if found:
            assert os.WIFSTOPPED(status), status
            return status
        time.sleep(0.001)
    raise TimeoutError(f"{pid} does not stop")


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")
