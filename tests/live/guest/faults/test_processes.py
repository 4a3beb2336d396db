"""Processes that are unlike others: of 32 bits, in namespaces, ever renamed."""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.faults.watched import OK, daemon, fork
from tests.live.guest.programs import PATIENCE, Forktrace, growth, wait_until

pytestmark = pytest.mark.thorough

PORT = 19470
FORKS = 23


@pytest.fixture(scope="module", params=["fentry", "kprobe"])
def trace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forktrace]:
    folder = tmp_path_factory.mktemp(request.param)
    running = Forktrace(folder, "trace", "--json", "--attach", request.param)
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.kill()


def elf32(forks: int) -> bytes:
    """Return a program of i386 that forks so often, waits each time, and exits."""
    base, header = 0x08048000, 52 + 32
    code = bytes.fromhex(
        f"be {struct.pack('<I', forks).hex()}"  # mov esi, forks
        "b8 02000000 cd80"  # again: fork()
        "85c0 74 10"  # test eax, eax; jz child
        "89c3 31c9 31d2 b8 07000000 cd80"  # waitpid(eax, 0, 0)
        "4e 75 e5"  # dec esi; jnz again
        "31db b8 01000000 cd80"  # child: exit(0)
    )
    size = header + len(code)
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    entry = base + header
    elf = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    load = struct.pack("<8I", 1, 0, base, base, size, size, 5, 0x1000)
    return ident + elf + load + code


@pytest.mark.fault("a process of 32 bits (int 0x80)", "its forks are told as any")
def test_forks_of_a_32_bit_process_are_told(
    trace: Forktrace, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    program = tmp_path / "forks32"
    program.write_bytes(elf32(FORKS))
    program.chmod(0o755)
    running = subprocess.Popen([program])
    assert running.wait(PATIENCE) == 0
    told = forks_by(trace, running.pid, FORKS)
    assert {fork["comm"] for fork in told} == {"forks32"}
    assert all(fork["vmas"]["copy"] > 0 for fork in told)
    saw(f"{len(told)} forks of {FORKS}, {told[0]['vmas']['copy']} VMAs copied in each")


def forks_by(trace: Forktrace, pid: int, forks: int) -> list[dict[str, Any]]:
    """Wait until so many forks of a process are told, and return them."""

    def told() -> list[dict[str, Any]]:
        return [fork for fork in trace.forks() if fork["pid"] == pid]

    wait_until(lambda: len(told()) >= forks)
    assert len(told()) == forks
    return told()


@pytest.mark.fault(
    "processes in namespaces of their own (pid, user, mount)",
    "their forks are told, with the host's pids",
)
def test_forks_in_other_namespaces_are_told_with_the_hosts_pids(
    trace: Forktrace, saw: Callable[[str], None]
) -> None:
    shell = f"i=0; while [ $i -lt {FORKS} ]; do (:); i=$((i+1)); done; read end"
    unshare = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount")
    running = subprocess.Popen(
        [*unshare, "--mount-proc", "/bin/dash", "-c", shell], stdin=subprocess.PIPE
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    wait_until(lambda: children.read_text().strip())
    inner = int(children.read_text())
    told = forks_by(trace, inner, FORKS)
    running.communicate(b"\n", timeout=PATIENCE)
    assert {fork["comm"] for fork in told} == {"dash"}
    saw(f"{len(told)} forks of {FORKS} by pid {inner}, which is 1 of its own")


@pytest.mark.fault(
    "the process name changes all the time", "names add up to the forks made"
)
def test_names_that_change_all_the_time_add_up(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    """By another thread, in the middle of forks."""
    ended = threading.Event()
    comm = Path("/proc/self/task") / str(threading.get_native_id()) / "comm"
    own_name = comm.read_text().strip()

    def rename() -> None:
        number = 0
        while not ended.is_set():
            comm.write_text(f"name-{number % 300:010d}")
            number += 1

    forks = 300
    with daemon(tmp_path, PORT) as run:
        renaming = threading.Thread(target=rename)
        before = run.samples()
        renaming.start()
        try:
            fork(forks)
        finally:
            ended.set()
            renaming.join()
            comm.write_text(own_name)
        after = run.samples()
    name = "forktrace_process_forks_total"
    names = {key: after[key] - before.get(key, 0) for key in after if key[0] == name}
    counted = growth(before, after, "forktrace_forks_total", **OK)
    assert sum(names.values()) == counted == forks
    saw(f"{counted:.0f} forks of {forks}, under {len(names)} names")
