"""The few calls of libbpf that forktrace makes itself, through ctypes.

libbpf comes with the distribution's bcc, which is built on it. Every call raises
OSError with the kernel's errno when it fails.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from forktrace.errors import Unsupported
from forktrace.packages import install

_NAMES = ("libbpf.so.1", "libbpf.so.0")


def library_name() -> str | None:
    """Return the name of the libbpf that is here, None when there is none."""
    for name in _NAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return libbpf, or raise Unsupported naming the package that has it."""
    name = library_name()
    if name is None:
        raise Unsupported(
            "libbpf is missing (it reads the kernel's BTF and BPF maps)",
            install("libbpf"),
        )
    lib = ctypes.CDLL(name, use_errno=True)
    # libbpf 0.x prints what it makes of an error to stderr unless told not to.
    lib.libbpf_set_print(None)
    return lib


def _call(function: str, *arguments: Any) -> int:
    """Call a function that returns a negative number and sets errno on failure."""
    ctypes.set_errno(0)
    result: int = getattr(library(), function)(*arguments)
    if result < 0:
        # libbpf 0.x returns -1, libbpf 1.x -errno; both set errno.
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number), function)
    return result


def attach_trampoline(program: int) -> int:
    """Attach a fentry or fexit program to the function that it was loaded for."""
    return _call("bpf_raw_tracepoint_open", None, program)


def put_number(fd: int, index: int, number: int) -> None:
    """Set an element of four bytes; where a map holds cgroups, say, to a descriptor."""
    key, value = ctypes.c_uint32(index), ctypes.c_uint32(number)
    any_flags = ctypes.c_uint64(0)
    _call("bpf_map_update_elem", fd, ctypes.byref(key), ctypes.byref(value), any_flags)


def freeze(fd: int) -> None:
    """Let nobody change a map by bpf(2) any more (Linux 5.2, commit 87df15de441b)."""
    _call("bpf_map_freeze", fd)


class MappedArray:
    """An array map with BPF_F_MMAPABLE (Linux 5.5, commit fc9702273e2e) as memory.

    bpf() calls that read or write a map are not for a map in use: on a preemptible
    kernel they keep kprobe programs from running (bpf_disable_instrumentation()).
    """

    def __init__(self, fd: int, value: type[ctypes.Structure]) -> None:
        """Map all elements, each a ``value``."""
        self._value = value
        self._size = ctypes.sizeof(value)
        self.entries = MapShape.of(fd).max_entries
        self._memory = mmap.mmap(fd, self._size * self.entries)

    def read(self, index: int = 0) -> Any:
        """Return a copy of one element."""
        return self._value.from_buffer_copy(self._memory, index * self._size)

    def raw(self, first: int, count: int) -> bytes:
        """Return the bytes of some elements that follow each other."""
        return self._memory[first * self._size : (first + count) * self._size]

    def column(self, member: str) -> list[int]:
        """Return one member, of 64 bits, of all elements; nothing else is copied."""
        place = getattr(self._value, member)
        with memoryview(self._memory) as memory, memory.cast("Q") as words:
            return words[place.offset // 8 :: self._size // 8].tolist()

    def write_word(self, index: int, member: str, value: int) -> None:
        """Set one member, of 64 bits, of one element."""
        at = index * self._size + getattr(self._value, member).offset
        with memoryview(self._memory) as memory, memory.cast("Q") as words:
            words[at // 8] = value

    def write(self, value: ctypes.Structure) -> None:
        """Replace element 0."""
        self._memory[: self._size] = bytes(value)

    def close(self) -> None:
        """Unmap."""
        self._memory.close()


class MapShape(NamedTuple):
    """What a map is made of; sizes in bytes, the rest as in ``union bpf_attr``."""

    map_type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int = 0

    @classmethod
    def of(cls, fd: int) -> MapShape:
        """Return the shape of a map that is there."""
        found = _fields(Path(f"/proc/self/fdinfo/{fd}").read_text())
        return cls(*(int(found[name], 0) for name in cls._fields))


def _fields(fdinfo: str) -> dict[str, str]:
    """Return what the kernel tells of a descriptor, by name."""
    return dict(line.split(":", 1) for line in fdinfo.splitlines())


class ProgramInfo(NamedTuple):
    """What the kernel counts for a loaded program.

    ``run_time_ns`` and ``run_cnt`` grow only while statistics are enabled.
    ``recursion_misses`` counts the runs that the kernel left out: of fentry programs
    since 5.12 (commit 9ed9e9ba2337), of kprobe programs since 6.7 (commit
    dd8657894c11), and 0 before.
    """

    run_time_ns: int
    run_cnt: int
    recursion_misses: int


class Program:
    """A loaded program, of which ``info`` can be read at any time.

    Without privileges and without a further descriptor: before 5.19 (commit
    c8644cd0efe7) the bpf() call for it takes CAP_BPF.
    """

    def __init__(self, fd: int) -> None:
        """Open what is read later."""
        self._fdinfo = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY)

    def info(self) -> ProgramInfo:
        """Return what the kernel has counted up to now."""
        found = _fields(os.pread(self._fdinfo, 4096, 0).decode())
        return ProgramInfo(*(int(found.get(name, 0)) for name in ProgramInfo._fields))

    def close(self) -> None:
        """Close what was opened, not the program."""
        os.close(self._fdinfo)


def enable_statistics() -> int:
    """Have the kernel time every BPF program while the returned descriptor is open."""
    return _call("bpf_enable_stats", 0)


_TURN_SECONDS = 0.2
_SAMPLE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)


class RingBuffer:
    """A BPF ring buffer (Linux 5.8): ``poll`` hands each record to ``receive``."""

    def __init__(self, fd: int, receive: Callable[[int, int], None]) -> None:
        """Map the ring; ``receive`` gets the address and size of a record."""

        self._error: BaseException | None = None
        self._stopped = False
        self._until = 0.0

        def sample(_context: int, data: int, size: int) -> int:
            # ctypes would print an error and go on as if nothing had happened.
            try:
                receive(data, size)
            except BaseException as error:
                self._error = error
            self._stopped = self._error is not None or time.monotonic() > self._until
            return -1 if self._stopped else 0

        # libbpf keeps only the pointer, so the callback must live as long as this.
        self._sample = _SAMPLE(sample)
        new = library().ring_buffer__new
        new.restype = ctypes.c_void_p
        ctypes.set_errno(0)
        self._ring = ctypes.c_void_p(new(fd, self._sample, None, None))
        if not self._ring.value or ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "ring_buffer__new")

    def poll(self, timeout_ms: int) -> int:
        """Wait for records and hand them over; returns 0 when there were none.

        It ends by itself when records come as fast as they are taken. An error of
        ``receive`` ends it too and is raised here.
        """
        self._stopped = False
        self._until = time.monotonic() + timeout_ms / 1000 + _TURN_SECONDS
        try:
            return _call("ring_buffer__poll", self._ring, timeout_ms)
        except InterruptedError:
            return 0
        except OSError:
            error, self._error = self._error, None
            if error is not None:
                raise error from None
            if not self._stopped:
                raise
            return 1

    def close(self) -> None:
        """Unmap the ring."""
        library().ring_buffer__free(self._ring)
        self._ring = ctypes.c_void_p(None)
