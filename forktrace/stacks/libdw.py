"""Unwinds a copied user-space stack and names its frames, by elfutils' libdw.

libdw follows the call frame information that compilers write for each function, so a
program needs no frame pointers; where code has none, as what a JIT made, it follows
frame pointers. It is what perf uses for the same task.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_bool,
    c_char_p,
    c_int,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, NamedTuple

from forktrace.errors import Unsupported
from forktrace.kernel.registers import Registers
from forktrace.packages import install

MOST_FRAMES = 256
"""Where unwinding ends: recursion may be deeper, and is told as cut."""

_WORD = 8
_FILE = re.compile(rb"^([0-9a-f]+-[0-9a-f]+)(?: +\S+){4} +(/.*)$", re.MULTILINE)
_GO_ON, _ABORT = 0, 1  # DWARF_CB_OK and DWARF_CB_ABORT of libdw.h


class Place(NamedTuple):
    """An address in a file, and the function there; both are empty where unknown."""

    address: int
    module: str
    function: str


# libdwfl.h. Handles are opaque, so each is a void pointer.
_FindElf = CFUNCTYPE(
    c_int, c_void_p, c_void_p, c_char_p, c_uint64, POINTER(c_void_p), POINTER(c_void_p)
)
_NextThread = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(c_void_p))
_GetThread = CFUNCTYPE(c_bool, c_void_p, c_int, c_void_p, POINTER(c_void_p))
_ReadMemory = CFUNCTYPE(c_bool, c_void_p, c_uint64, POINTER(c_uint64), c_void_p)
_SetRegisters = CFUNCTYPE(c_bool, c_void_p, c_void_p)
_OnFrame = CFUNCTYPE(c_int, c_void_p, c_void_p)


class _Callbacks(ctypes.Structure):
    """``Dwfl_Callbacks``."""

    _fields_ = (
        ("find_elf", _FindElf),
        ("find_debuginfo", c_void_p),
        ("section_address", c_void_p),
        ("debuginfo_path", c_void_p),
    )


class _ThreadCallbacks(ctypes.Structure):
    """``Dwfl_Thread_Callbacks``; what is left out is NULL."""

    _fields_ = (
        ("next_thread", _NextThread),
        ("get_thread", _GetThread),
        ("memory_read", _ReadMemory),
        ("set_initial_registers", _SetRegisters),
        ("detach", c_void_p),
        ("thread_detach", c_void_p),
    )


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return libdw, or raise Unsupported naming the package that has it."""
    # It would ask the servers named there for debug information, over the network.
    os.environ.pop("DEBUGINFOD_URLS", None)
    try:
        lib = ctypes.CDLL("libdw.so.1")
    except OSError:
        raise Unsupported(
            "libdw is missing (it unwinds stacks)", install("libdw")
        ) from None
    lib.dwfl_begin.restype = c_void_p
    lib.dwfl_addrmodule.restype = c_void_p
    lib.dwfl_addrmodule.argtypes = (c_void_p, c_uint64)
    lib.dwfl_module_info.restype = c_char_p
    lib.dwfl_module_addrname.restype = c_char_p
    lib.dwfl_module_addrname.argtypes = (c_void_p, c_uint64)
    lib.dwfl_frame_pc.argtypes = (c_void_p, POINTER(c_uint64), POINTER(c_bool))
    lib.dwfl_frame_pc.restype = c_bool
    lib.dwfl_thread_state_registers.argtypes = (c_void_p, c_int, c_int, c_void_p)
    lib.dwfl_thread_state_registers.restype = c_bool
    lib.dwfl_thread_state_register_pc.argtypes = (c_void_p, c_uint64)
    lib.dwfl_thread_state_register_pc.restype = None
    return lib


class Process:
    """The files that one process has mapped, as they are when this is made.

    Raises OSError when they cannot be read, as when the process is gone.
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        """Read which files are mapped; none is opened before a frame needs it."""
        self._lib = library()
        self._folder = proc / str(pid)
        self._ranges = _mapped(self._folder / "maps")
        # ctypes' functions must live as long as libdw may call them.
        self._callbacks = _Callbacks(
            _FindElf(self._find_elf),
            ctypes.cast(self._lib.dwfl_standard_find_debuginfo, c_void_p),
        )
        self._threads = _ThreadCallbacks(
            get_thread=_GetThread(lambda dwfl, tid, ours, thread: bool(tid)),
            next_thread=_NextThread(lambda dwfl, ours, thread: 0),
            memory_read=_ReadMemory(self._read_memory),
            set_initial_registers=_SetRegisters(self._set_registers),
        )
        self._stack: tuple[Registers, bytes]
        self._beyond = False
        self._dwfl = c_void_p(self._lib.dwfl_begin(byref(self._callbacks)))
        number = self._lib.dwfl_linux_proc_report(self._dwfl, pid)
        if number or self._lib.dwfl_report_end(self._dwfl, None, None):
            self.close()
            raise OSError(max(0, number), "cannot read the mappings", str(pid))
        attached = self._lib.dwfl_attach_state(
            self._dwfl, None, pid, byref(self._threads), None
        )
        if not attached:
            self.close()
            raise OSError(0, "no mapped file can be read", str(pid))

    def close(self) -> None:
        """Give back what libdw holds."""
        self._lib.dwfl_end(self._dwfl)
        self._dwfl = c_void_p()

    def unwind(self, registers: Registers, stack: bytes) -> tuple[list[Place], bool]:
        """Return the frames, the innermost first, and whether there are more of them.

        ``stack`` is memory from the stack pointer on.
        """
        self._stack, self._beyond = (registers, stack), False
        frames: list[Place] = []

        def on_frame(state: int, _: int) -> int:
            pc, activation = c_uint64(), c_bool()
            if not self._lib.dwfl_frame_pc(state, byref(pc), byref(activation)):
                return _ABORT
            # Behind a call that never returns another function may begin.
            frames.append(self._place(pc.value - (not activation.value)))
            return _ABORT if len(frames) == MOST_FRAMES else _GO_ON

        self._lib.dwfl_getthread_frames(self._dwfl, 1, _OnFrame(on_frame), None)
        return frames, self._beyond or len(frames) == MOST_FRAMES

    def _place(self, address: int) -> Place:
        module = self._lib.dwfl_addrmodule(self._dwfl, address)
        if not module:
            return Place(address, "", "")
        nothing = (None,) * 7
        path = self._lib.dwfl_module_info(c_void_p(module), *nothing) or b""
        name = self._lib.dwfl_module_addrname(module, address) or b""
        return Place(address, _text(path), _demangled(name))

    # -- what libdw asks -----------------------------------------------------

    def _find_elf(
        self, module: int, userdata: int, name: bytes, base: int, *out: Any
    ) -> int:
        """Open a mapped file: what is mapped, else what has its name in that root.

        The former is there when the file is gone, or has no path on the host; it takes
        CAP_SYS_ADMIN.
        """
        if name in self._ranges:
            mapped, inside = os.fsdecode(self._ranges[name]), os.fsdecode(name)
            for path in (f"map_files/{mapped}", f"root/{inside}"):
                with suppress(OSError):
                    return os.open(self._folder / path, os.O_RDONLY | os.O_CLOEXEC)
            return -1
        found: int = self._lib.dwfl_linux_proc_find_elf(
            *(c_void_p(module), c_void_p(userdata), c_char_p(name)),
            c_uint64(base),
            *out,
        )
        return found

    def _read_memory(self, _: int, address: int, result: Any, __: int) -> bool:
        registers, stack = self._stack
        at = address - registers.sp
        if at < 0 or at + _WORD > len(stack):
            self._beyond |= at >= 0
            return False
        word = int.from_bytes(stack[at : at + _WORD], "little")
        # Only saved registers are read, and only addresses among them matter.
        result[0] = word & registers.address_mask
        return True

    def _set_registers(self, thread: int, _: int) -> bool:
        registers, _stack = self._stack
        values = (c_uint64 * len(registers.dwarf))(*registers.dwarf)
        self._lib.dwfl_thread_state_register_pc(thread, registers.pc)
        done: bool = self._lib.dwfl_thread_state_registers(
            thread, 0, len(values), values
        )
        return done


def _mapped(maps: Path) -> dict[bytes, bytes]:
    """Return by the name of each mapped file one range of addresses that has it."""
    return {line[2]: line[1] for line in _FILE.finditer(maps.read_bytes())}


@functools.lru_cache(maxsize=1)
def _demangler() -> Callable[[bytes], bytes] | None:
    try:
        library = ctypes.CDLL("libstdc++.so.6")
    except OSError:
        return None
    demangle, free = library.__cxa_demangle, ctypes.CDLL(None).free
    demangle.restype, free.argtypes = c_void_p, (c_void_p,)

    def call(name: bytes) -> bytes:
        text = demangle(name, None, None, None)
        if not text:
            return name
        try:
            return ctypes.string_at(text)
        finally:
            free(text)

    return call


def _demangled(name: bytes) -> str:
    name = name.partition(b"@")[0]  # symbol versions
    demangle = _demangler() if name.startswith(b"_Z") else None
    return _text(demangle(name) if demangle else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
