"""Runs one command on one kernel, in a virtual machine that always ends."""

from __future__ import annotations

import os
import re
import secrets
import selectors
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.lab import initramfs
from tests.lab.cache import REPOSITORY, cache_folder, guest_slot
from tests.lab.errors import GuestTimeout, LabError
from tests.lab.kernels import Kernel, find_kernel
from tests.lab.roots import root_for
from tests.lab.shares import start_helper, start_share

GUEST_ENV = {
    "HOME": "/run/home",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # The root is read-only: trying to write byte code there only takes time.
    "PYTHONDONTWRITEBYTECODE": "1",
    "TERM": "dumb",
}
"""What every command in a guest finds in its environment."""

SLOW_ENV = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": "/run/pycache"}
"""With a root that brings no byte code: compiling takes a minute, so once is enough."""

CONSOLE_LINES = 15
"""So many lines of the console go with an error."""

_CAUSE = re.compile(
    r"Kernel panic|Oops|BUG: |general protection|applet not found|: can't "
)


@dataclass(frozen=True)
class Machine:
    """What a guest is given: ``memory`` in MiB; ``timeout``: seconds without a word.

    With ``icount`` one nanosecond of the guest's clock is one instruction, on one
    CPU. ``cmdline`` is added to the kernel's. A guest whose command says nothing for
    ``timeout`` seconds of ours counts as hung, however long it worked before.
    """

    smp: int = 2
    memory: int = 2048
    timeout: float = 900
    icount: bool = False
    cmdline: str = ""


@dataclass(frozen=True)
class Result:
    """How a command ended in its guest.

    ``output`` is what it wrote to stdout and stderr, in order; ``console`` what the
    kernel had to say; ``results`` the folder it could write to; ``seconds`` the
    wall time from start to end, boot included.
    """

    status: int
    output: str
    console: str
    results: Path
    seconds: float


def run_guest(
    kernel: Kernel | str,
    argv: Sequence[str | os.PathLike[str]],
    *,
    results: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    machine: Machine | None = None,
    stream: BinaryIO | None = None,
) -> Result:
    """Run a command as root in a guest that sees this machine's files read-only.

    ``kernel`` is what find_kernel() takes or returns. ``results`` is the one folder
    the guest may write to, at the same path as here and in $RESULTS; without it a
    folder of the cache is used, which a later guest empties. Large outputs belong
    there: through ``output`` about 200 kB pass in a second. ``env`` is added to
    GUEST_ENV. ``cwd`` is where the command starts (the current folder). ``stream``
    gets the output while it happens.

    Not more guests run at once than there are CPUs: the next one waits for its turn,
    which does not count as its silence.

    Raises GuestTimeout when it says nothing any more, LabError when the guest stops
    before the command has ended or cannot be started. Nothing is left running.
    """
    kernel = find_kernel(kernel) if isinstance(kernel, str) else kernel
    machine = machine or Machine()
    where = (cwd or Path.cwd()).resolve()
    with ExitStack() as cleanup:
        number = cleanup.enter_context(guest_slot())
        folder = _results_folder(results, number)
        _check_memory(machine.memory)
        started = time.monotonic()
        job = initramfs.Job(
            argv=[os.fspath(word) for word in argv],
            env={**_environment(kernel), "RESULTS": str(folder), **(env or {})},
            cwd=where,
            results=folder,
            shown=list(dict.fromkeys((REPOSITORY, where))),
            end_mark=f"end-{secrets.token_hex(16)}",
            root=initramfs.ROOT if kernel.arch.native else root_for(kernel.arch),
            output=kernel.arch.output,
        )
        guest = _Guest(cleanup, kernel, machine, job)
        status = guest.follow(stream)
        seconds = time.monotonic() - started
    output = guest.output.decode(errors="replace")
    return Result(status, output, guest.console_text(), folder, seconds)


class _Guest:
    """A QEMU that has been started, and what has been heard from it."""

    def __init__(
        self, cleanup: ExitStack, kernel: Kernel, machine: Machine, job: initramfs.Job
    ) -> None:
        self.output = b""
        self._kernel = kernel
        self._machine = machine
        self._console = bytearray()
        self._received = bytearray()
        self._shown = 0
        self._mark = f"\0{job.end_mark} ".encode()

        program = shutil.which(kernel.arch.qemu)
        if not program:
            raise LabError(
                f"There is no {kernel.arch.qemu} on this machine.",
                f"apt-get install {kernel.arch.qemu_package}",
            )
        self._helpers = {}
        shares = {}
        for tag, folder in (("host", Path("/")), ("results", job.results)):
            server, connection = start_share(
                cleanup, folder, writable=folder == job.results
            )
            self._helpers[f"virtiofsd of {folder}"] = server
            shares[tag] = connection.fileno()
        archive = os.memfd_create("initramfs")
        cleanup.callback(os.close, archive)
        with open(archive, "wb", closefd=False) as file:
            file.write(initramfs.build(kernel.modules, job))
        self._console_socket, console = self._serial_port(cleanup)
        self._output_socket, output = self._serial_port(cleanup)
        serial = (console.fileno(), output.fileno())
        argv = [program, *qemu_options(kernel, machine, archive, shares, serial)]
        fds = [archive, *shares.values(), *serial]
        self._helpers["QEMU"] = start_helper(cleanup, argv, fds)
        # Held by QEMU alone from here on, so that its end is the end of the stream.
        console.close()
        output.close()

    @staticmethod
    def _serial_port(cleanup: ExitStack) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        return cleanup.enter_context(ours), cleanup.enter_context(theirs)

    def follow(self, stream: BinaryIO | None) -> int:
        """Read until the command has ended; return its exit status."""
        deadline = time.monotonic() + self._machine.timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._console_socket, selectors.EVENT_READ, self._console)
            selector.register(self._output_socket, selectors.EVENT_READ, self._received)
            while selector.get_map():
                left = deadline - time.monotonic()
                events = selector.select(left) if left > 0 else []
                if not events and time.monotonic() >= deadline:
                    raise self._too_late()
                for key, _ in events:
                    chunk = _receive(key.fileobj)
                    key.data.extend(chunk)
                    # Not by its console: a kernel that hangs goes on to complain there.
                    if key.data is self._received:
                        deadline = time.monotonic() + self._machine.timeout
                    if not chunk:
                        selector.unregister(key.fileobj)
                status = self._digest(stream)
                if status is not None:
                    return status
        raise self._stopped()

    def _digest(self, stream: BinaryIO | None) -> int | None:
        """Pass on what is output for certain; return the status once it is there."""
        received, mark = self._received, self._mark
        at = received.find(mark, self._shown)
        if at >= 0:
            until = at
        else:
            # The end of it may be the beginning of the mark.
            begun = (n for n in range(len(mark), 0, -1) if received.endswith(mark[:n]))
            until = len(received) - next(begun, 0)
        if stream and until > self._shown:
            stream.write(received[self._shown : until])
            stream.flush()
        self._shown = until
        if at < 0 or not received.endswith(b"\n", at + len(mark)):
            return None
        self.output = bytes(received[:at])
        return int(received[at + len(mark) :])

    def console_text(self) -> str:
        """Return what the kernel wrote, with plain line ends."""
        return self._console.decode(errors="replace").replace("\r", "")

    def _too_late(self) -> LabError:
        seconds = self._machine.timeout
        return GuestTimeout(
            f"The guest with {self._kernel.name} was ended: it said nothing for "
            f"{seconds:g} seconds.",
            f"It hangs, or its limit is too short. {self._last_words()}",
            details=self._received.decode(errors="replace"),
        )

    def _stopped(self) -> LabError:
        return LabError(
            f"The guest with {self._kernel.name} stopped before its command had ended.",
            self._last_words(),
            details=self._received.decode(errors="replace"),
        )

    def _last_words(self) -> str:
        words = []
        lines = telling_lines(self.console_text())
        if lines:
            words.append("From its console:\n" + "\n".join(lines))
        # QEMU first: it would complain about a share that is gone.
        for name, process in reversed(self._helpers.items()):
            process.kill()
            said = process.communicate()[0].decode(errors="replace").strip()
            if said:
                words.append(f"{name}: {said}")
        return "\n".join(words) or "Its console stayed empty."


def telling_lines(console: str) -> list[str]:
    """Return the lines from the first one that names a cause on, else the last."""
    lines = console.strip().splitlines()
    for number, line in enumerate(lines):
        if _CAUSE.search(line):
            return lines[number : number + CONSOLE_LINES]
    return lines[-CONSOLE_LINES:]


def qemu_options(
    kernel: Kernel,
    machine: Machine,
    archive: int,
    shares: Mapping[str, int],
    serial: Sequence[int],
) -> list[str]:
    """Return QEMU's options; numbers are descriptors that QEMU inherits."""
    options = [
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-net", "none", *kernel.arch.options, "-m", f"{machine.memory}M"),
        "-object",
        f"memory-backend-memfd,id=memory,size={machine.memory}M,share=on",
    ]
    if machine.icount:
        options += ["-accel", "tcg", "-icount", "shift=0,sleep=on", "-smp", "1"]
    else:
        # With a thread for each CPU, QEMU (7.2) can translate code that another CPU
        # is patching and keep the breakpoint of a patch that is long over: attaching
        # and detaching probes under load then ends in "Oops: int3" within seconds.
        options += ["-accel", "tcg,thread=single", "-smp", str(machine.smp)]
    for number, fd in enumerate(serial):
        options += ["-chardev", f"socket,id=serial{number},fd={fd}"]
    options += ["-serial", "chardev:serial0", *kernel.arch.second_port]
    for tag, fd in shares.items():
        options += ["-chardev", f"socket,id={tag},fd={fd}"]
        options += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
    # An oops is an error of the kernel under test: say so instead of going on.
    cmdline = (
        f"console={kernel.arch.console} quiet panic=-1 oops=panic {machine.cmdline}"
    )
    options += ["-kernel", str(kernel.image), "-initrd", f"/dev/fd/{archive}"]
    return [*options, "-append", cmdline.strip()]


def _receive(connection: object) -> bytes:
    assert isinstance(connection, socket.socket)
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def _environment(kernel: Kernel) -> Mapping[str, str]:
    return GUEST_ENV if kernel.arch.native else {**GUEST_ENV, **SLOW_ENV}


def _results_folder(given: Path | None, slot: int) -> Path:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        return given.resolve()
    folder = cache_folder() / "results" / str(slot)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _check_memory(wanted: int) -> None:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) // 1024
            if available < wanted:
                raise LabError(
                    f"The guest needs {wanted} MiB of memory, {available} are free.",
                    "Give it less (--memory), or end something else.",
                )
