"""Hang loaded programs on kernel functions; a probe lives as long as its descriptor.

Nothing is created by name in tracefs, so a killed forktrace leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forktrace import libbpf
from forktrace.errors import SHORT_OF, ForktraceError, Unsupported
from forktrace.kernel.abi import syscall

_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe")
_PERF_FLAG_FD_CLOEXEC = 8
SET_BPF = 0x40042408
"""ioctl PERF_EVENT_IOC_SET_BPF: run a program at the event."""
_ENOTSUPP = 524  # the kernel's own, include/linux/errno.h: fentry on arm64 in 6.1


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


@dataclass(frozen=True)
class Place:
    """Where a kprobe hangs: in a kernel function, or at its return."""

    function: str
    offset: int = 0
    at_return: bool = False

    def __str__(self) -> str:
        """Return it as the kernel's own messages do."""
        return f"{self.function}+{self.offset:#x}" if self.offset else self.function


Opener = Callable[[Place], int]
"""Returns the descriptor of a kprobe that runs nothing yet, or raises OSError."""


class Probes:
    """The probes of one session, in the order they were attached."""

    def __init__(self) -> None:
        """Start with none."""
        self._fds: list[int] = []

    def kprobe(self, program: int, place: Place, opener: Opener) -> None:
        """Run ``program`` there; only ``opener`` needs privileges."""
        fd = -1
        try:
            fd = opener(place)
            fcntl.ioctl(fd, SET_BPF, program)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise _refusal(f"a kprobe on {place}", error, _advice(error)) from None
        self._fds.append(fd)

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
        raise _refusal("a fentry probe", error, "Try --attach kprobe.") from None


def open_kprobe(place: Place) -> int:
    """Open a perf event (kprobe PMU, since Linux 4.17): the ``Opener`` of the process.

    The PMU came with commit e12f03d7031a ("perf/core: Implement the 'perf_kprobe'
    PMU"); before it a kprobe needed a name in tracefs, which a crash leaves behind.
    """
    pmu = int((_KPROBE_PMU / "type").read_text())
    retprobe = (_KPROBE_PMU / "format/retprobe").read_text()
    return _perf_event_open(
        _PerfEventAttr(
            type=pmu,
            size=ctypes.sizeof(_PerfEventAttr),
            config=(1 << int(retprobe.split(":")[1])) if place.at_return else 0,
            sample_period=1,
            wakeup_events=1,
            kprobe_func=place.function.encode(),
            probe_offset=place.offset,
        )
    )


def _perf_event_open(attr: _PerfEventAttr) -> int:
    """Open the event on CPU 0; a kprobe fires on every CPU all the same."""
    return syscall(
        "perf_event_open", ctypes.byref(attr), -1, 0, -1, _PERF_FLAG_FD_CLOEXEC
    )


def _refusal(what: str, error: OSError, advice: str) -> ForktraceError:
    """Tell what this kernel does not do from what cannot be done at this moment."""
    if error.errno in SHORT_OF:
        return ForktraceError(
            f"No room for {what}: {error.strerror}.", SHORT_OF[error.errno]
        )
    if error.errno == errno.ENOENT and error.filename:
        return Unsupported("This kernel has no kprobes.", advice)
    known = error.errno != _ENOTSUPP
    reason = error.strerror if known else "not supported on this architecture"
    return Unsupported(f"The kernel refused {what}: {reason}.", advice)


def _advice(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            "Run as root: where kernel.perf_event_paranoid is above 2, as on Debian, "
            "CAP_PERFMON is not enough. Under lockdown=confidentiality no kprobe is "
            "allowed."
        )
    if error.filename:
        return "It needs CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y."
    return "See /sys/kernel/debug/kprobes/blacklist, and that kprobes are enabled."
