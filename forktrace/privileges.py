"""Give up what Linux lets a process do beyond its user: its capabilities.

Each thread has its own, so they are given up before the first thread is started.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection
from typing import Any

CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 19, 21, 24
CAP_PERFMON, CAP_BPF = 38, 39
"""Numbers of capabilities (include/uapi/linux/capability.h)."""

_CAP_SETPCAP = 8

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    """``struct __user_cap_header_struct``; pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """``struct __user_cap_data_struct``: 32 capabilities, the first or the others."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def give_up(keep: Collection[int] = ()) -> None:
    """Keep no capability but ``keep`` for good, and gain none by exec either.

    Raises OSError when the kernel refuses. Without CAP_SETPCAP the bounding set stays
    as it is, which means nothing more: it limits what exec gives, and exec gives none.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    sets = (_Sets * 2)()
    header = _Header(_VERSION_3)
    _call("capget", ctypes.byref(header), sets)
    if sets[0].effective >> _CAP_SETPCAP & 1:
        _bound(keep)
    for word, each in enumerate(sets):
        wanted = sum(1 << cap % 32 for cap in keep if cap // 32 == word)
        each.permitted &= wanted
        each.effective = each.permitted
        each.inheritable = 0
    _call("capset", ctypes.byref(header), sets)


def _bound(keep: Collection[int]) -> None:
    """Leave only ``keep`` in the bounding set."""
    capability = 0
    while _libc().prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if capability not in keep:
            _prctl(_PR_CAPBSET_DROP, capability)
        capability += 1


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, which forked it, is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _prctl(*arguments: int) -> None:
    _call("prctl", *map(ctypes.c_ulong, (*arguments, 0, 0, 0, 0)[:5]))


def _call(function: str, *arguments: Any) -> None:
    libc = _libc()
    if getattr(libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
