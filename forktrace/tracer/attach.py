"""Hang loaded programs on kernel functions; a probe lives as long as its descriptor.

Nothing is created by name in tracefs, so a killed forktrace leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from forktrace import libbpf
from forktrace.errors import Unsupported

_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_FLAG_FD_CLOEXEC = 8
_PERF_EVENT_IOC_ENABLE = 0x2400
_PERF_EVENT_IOC_SET_BPF = 0x40042408


class _PerfEventAttr(ctypes.Structure):
    """``struct perf_event_attr`` up to PERF_ATTR_SIZE_VER1."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_char_p),
        ("probe_offset", ctypes.c_uint64),
    )


class Probes:
    """The probes of one session, in the order they were attached."""

    def __init__(self) -> None:
        """Start with none."""
        self._fds: list[int] = []

    def kprobe(
        self, program: int, function: str, offset: int = 0, *, at_return: bool = False
    ) -> None:
        """Run ``program`` at ``function`` + ``offset``, or when it returns."""
        self._fds.append(_open_kprobe(program, function, offset, at_return))

    def trampoline(self, program: int) -> None:
        """Run a fentry or fexit program where it was loaded for."""
        self._fds.append(_open_trampoline(program))

    @classmethod
    @contextmanager
    def all_or_none(cls) -> Iterator[Probes]:
        """Detach again what the block attached when it fails."""
        probes = cls()
        try:
            yield probes
        except BaseException:
            probes.close()
            raise

    def close_last(self) -> None:
        """Detach the one that was attached last."""
        os.close(self._fds.pop())

    def close(self) -> None:
        """Detach all; a program under way ends first."""
        _close(self._fds)
        self._fds = []

    def __bool__(self) -> bool:
        """Tell whether anything is attached."""
        return bool(self._fds)


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _open_trampoline(program: int) -> int:
    try:
        return libbpf.attach_trampoline(program)
    except OSError as error:
        raise Unsupported(
            f"The kernel refused to attach to a function by fentry: {error.strerror}.",
            "Try --attach kprobe.",
        ) from None


def _open_kprobe(program: int, function: str, offset: int, at_return: bool) -> int:
    """Return the descriptor of an enabled perf event (kprobe PMU, since Linux 4.17).

    The PMU came with commit e12f03d7031a ("perf/core: Implement the 'perf_kprobe'
    PMU"); before it a kprobe needed a name in tracefs, which a crash leaves behind.
    """
    try:
        pmu = int((_KPROBE_PMU / "type").read_text())
        retprobe = (_KPROBE_PMU / "format/retprobe").read_text()
    except OSError:
        raise Unsupported(
            "This kernel has no kprobes.",
            "It needs CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y.",
        ) from None
    attr = _PerfEventAttr(
        type=pmu,
        size=ctypes.sizeof(_PerfEventAttr),
        config=(1 << int(retprobe.split(":")[1])) if at_return else 0,
        sample_period=1,
        wakeup_events=1,
        kprobe_func=function.encode(),
        probe_offset=offset,
    )
    where = f"{function}+{offset:#x}" if offset else function
    fd = -1
    try:
        fd = _perf_event_open(attr)
        fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, program)
        fcntl.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise Unsupported(
            f"The kernel refused a kprobe on {where}: {error.strerror}.",
            _advice(error.errno),
        ) from None
    return fd


def _perf_event_open(attr: _PerfEventAttr) -> int:
    """Open the event on CPU 0; a kprobe fires on every CPU all the same."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(
        _PERF_EVENT_OPEN[platform.machine()],
        ctypes.byref(attr),
        ctypes.c_int(-1),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _advice(number: int | None) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return (
            "Run as root: where kernel.perf_event_paranoid is above 2, as on Debian, "
            "CAP_PERFMON is not enough. Under lockdown=confidentiality no kprobe is "
            "allowed."
        )
    return "See /sys/kernel/debug/kprobes/blacklist, and that kprobes are enabled."
