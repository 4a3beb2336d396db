"""Stacks of real processes, stopped and read as the BPF program would read them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.kernel.abi import abi
from forktrace.stacks.callers import Callers
from forktrace.stacks.frames import Stack

SOURCE = """
#include <unistd.h>
__attribute__((noinline)) static int wait_for_byte(int depth)
{
    char byte;
    return depth ? wait_for_byte(depth - 1) + 1 : (int)read(0, &byte, 1) + 1;
}
__attribute__((noinline)) int serve(void) { return wait_for_byte(2) * 2; }
int main(void) { return serve() == 0; }
"""
PTRACE_ATTACH, PTRACE_GETREGSET, NT_PRSTATUS = 16, 0x4204, 1
MOST = 16 << 10


class Area(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def ptrace(request: int, pid: int, address: int, data: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, ctypes.c_void_p(address), data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


@pytest.fixture
def waiting(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that waits in read(), three functions below serve()."""
    name = getattr(request, "param", "server")
    (tmp_path / "server.c").write_text(SOURCE)
    flags = ("-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls")
    subprocess.run(["cc", *flags, "-o", name, "server.c"], cwd=tmp_path, check=True)
    process = subprocess.Popen([tmp_path / name], stdin=subprocess.PIPE)
    syscall = Path(f"/proc/{process.pid}/syscall")
    try:
        ptrace(PTRACE_ATTACH, process.pid, 0, None)
    except PermissionError:
        pytest.skip("this machine forbids ptrace")
    while os.waitpid(process.pid, 0) and not syscall.read_text().startswith("0 0x0 "):
        ptrace(7, process.pid, 0, None)  # PTRACE_CONT
        process.send_signal(signal.SIGSTOP)
    yield process.pid
    process.kill()
    process.wait()


def copied(pid: int) -> tuple[list[int], bytes]:
    """Return the registers as struct pt_regs has them, and the stack."""
    layout = abi().registers
    words = (ctypes.c_uint64 * layout.words)()
    area = Area(ctypes.addressof(words), ctypes.sizeof(words))
    ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, ctypes.byref(area))
    stack = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(words[layout.sp])
        while len(stack) < MOST:
            try:
                stack += memory.read(1024)
            except OSError:
                break
    return list(words), stack


def called(stack: Stack) -> list[tuple[str, str]]:
    return [(frame.function, Path(frame.module).name) for frame in stack.frames]


@pytest.fixture
def callers() -> Iterator[Callers]:
    made = Callers(abi().registers)
    yield made
    made.close()


def test_functions_without_frame_pointers_are_named(
    callers: Callers, waiting: int
) -> None:
    registers, memory = copied(waiting)
    for _ in range(2):
        stack = callers.stack(waiting, registers, memory)
        assert stack
        assert not stack.cut
        found = called(stack)
        at = found.index(("serve", "server"))
        assert found[at - 3 : at] == [("wait_for_byte", "server")] * 3
        assert found[at + 1] == ("main", "server")


def test_a_stack_that_was_not_read_to_its_end_is_cut(
    callers: Callers, waiting: int
) -> None:
    registers, memory = copied(waiting)
    stack = callers.stack(waiting, registers, memory[:16])
    assert stack
    assert stack.cut
    assert ("main", "server") not in called(stack)


def test_nonsense_in_memory_harms_nobody(callers: Callers, waiting: int) -> None:
    registers, memory = copied(waiting)
    for filling in (b"\0", b"\xff", b"\x41"):
        assert callers.stack(waiting, registers, filling * len(memory))
    assert callers.stack(waiting, [0] * len(registers), memory)


@pytest.mark.parametrize("waiting", ["\udcff) R 1 ("], indirect=True)
def test_a_name_may_be_any_bytes(callers: Callers, waiting: int) -> None:
    assert callers.stack(waiting, *copied(waiting))


def test_of_a_process_that_is_gone_nothing_is_known(callers: Callers) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert callers.stack(process.pid, [0] * abi().registers.words, b"") is None
