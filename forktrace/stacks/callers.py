"""From what the BPF program copied of a stack to the functions that called fork."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forktrace.kernel.registers import RegisterLayout, Registers
from forktrace.stacks.frames import Frame, Stack
from forktrace.stacks.libdw import Place, Process, library
from forktrace.stacks.perf_map import PerfMap

KERNEL = "[kernel]"
"""The module of a system call."""

_CODE = re.compile(rb"^[0-9a-f-]+ ..x. .* /.*$", re.MULTILINE)
_PID_IN_NAMESPACES = re.compile(r"^NSpid:.*\b(\d+)$", re.MULTILINE)
_UIDS = re.compile(r"^Uid:\t(\d+)\t(\d+)", re.MULTILINE)
_START_TIME = 22  # field of /proc/PID/stat


@dataclass(frozen=True)
class _Opened:
    """One process, what tells it from another one, and the code it had mapped."""

    process: Process
    names: PerfMap
    identity: object
    code: tuple[bytes, ...]

    def frames(
        self, registers: Registers, memory: bytes
    ) -> tuple[tuple[Frame, ...], bool]:
        """Unwind."""
        places, cut = self.process.unwind(registers, memory)
        if not all(place.function for place in places):
            self.names.refresh()
        return tuple(map(self._frame, places)), cut

    def _frame(self, place: Place) -> Frame:
        function = place.function or self.names.name(place.address)
        return Frame(function, place.module, place.address)


class Callers:
    """Unwinds the stacks of any process of this host, soon after they were copied.

    Files are looked for as the process sees them, in a container too. Raises
    Unsupported where libdw is missing.
    """

    _MOST = 32
    """How many processes are kept open: opening one takes some milliseconds."""

    def __init__(self, layout: RegisterLayout, proc: Path = Path("/proc")) -> None:
        """Open nothing yet."""
        library()
        self._layout = layout
        self._proc = proc
        self._opened: OrderedDict[int, _Opened] = OrderedDict()

    def stack(self, pid: int, words: Sequence[int], memory: bytes) -> Stack | None:
        """Return who called; None when the process is gone.

        ``words`` is the process's struct pt_regs, ``memory`` what lies from its stack
        pointer on.
        """
        registers = self._layout.read(words)
        try:
            opened = self._open(pid)
            frames, cut = opened.frames(registers, memory)
            if not all(frame.module or frame.function for frame in frames):
                # Perhaps in a library that was loaded since.
                again = self._open_again(pid, opened)
                if again is not opened:
                    frames, cut = again.frames(registers, memory)
        except (OSError, IndexError):  # also when it ends meanwhile
            return None
        kernel = Frame(registers.syscall, KERNEL, 0)
        return Stack((kernel, *frames) if registers.syscall else frames, cut)

    def close(self) -> None:
        """Let all processes go."""
        for opened in self._opened.values():
            opened.process.close()
        self._opened.clear()

    def _open(self, pid: int) -> _Opened:
        identity = self._identity(pid)
        opened = self._opened.get(pid)
        if opened and opened.identity == identity:
            self._opened.move_to_end(pid)
            return opened
        return self._take_in(pid, identity, self._code(pid))

    def _open_again(self, pid: int, opened: _Opened) -> _Opened:
        code = self._code(pid)
        if code == opened.code:
            return opened
        return self._take_in(pid, opened.identity, code)

    def _take_in(self, pid: int, identity: object, code: tuple[bytes, ...]) -> _Opened:
        status = self._read(pid, "status")
        inner, uids = _PID_IN_NAMESPACES.search(status), _UIDS.search(status)
        owners = frozenset({0, *map(int, uids.groups() if uids else ())})
        names = PerfMap(
            self._proc / str(pid) / "root", int(inner[1]) if inner else pid, owners
        )
        opened = _Opened(Process(pid, self._proc), names, identity, code)
        before = self._opened.pop(pid, None)
        self._opened[pid] = opened
        if before is None and len(self._opened) > self._MOST:
            before = self._opened.popitem(last=False)[1]
        if before:
            before.process.close()
        return opened

    def _identity(self, pid: int) -> object:
        """Return what changes when the number is another process's, and with exec."""
        folder = self._proc / str(pid)
        # The name stands in brackets and may hold any character.
        fields = self._read(pid, "stat").rpartition(")")[2].split()
        program = (folder / "exe").stat()
        return fields[_START_TIME - 3], program.st_dev, program.st_ino

    def _read(self, pid: int, name: str) -> str:
        return (self._proc / str(pid) / name).read_text(errors="replace")

    def _code(self, pid: int) -> tuple[bytes, ...]:
        maps = (self._proc / str(pid) / "maps").read_bytes()
        return tuple(_CODE.findall(maps))
