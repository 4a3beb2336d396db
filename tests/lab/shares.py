"""The host's folders as a guest sees them: virtiofsd, one process a folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.lab.errors import LabError

LAUNCH = Path(__file__).with_name("launch.py")

VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
"""Debian 13's own package, then the one that came with Debian 12's QEMU."""


def start_helper(
    cleanup: ExitStack,
    argv: list[str],
    fds: list[int],
    *,
    read_only: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a helper that ends with ``cleanup``, or with this process at the latest.

    It keeps the descriptors ``fds`` and is out of the terminal's reach, so that
    Ctrl-C comes to us alone and we end things in order.
    """
    options = ["--read-only"] if read_only else []
    process = subprocess.Popen(
        [sys.executable, "-IS", str(LAUNCH), *options, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=fds,
        start_new_session=True,
    )
    cleanup.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def start_share(
    cleanup: ExitStack, folder: Path, *, writable: bool
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Serve ``folder`` and return the server and the connection for QEMU.

    A share that is not writable is served by a process for which every mount of
    the host is read-only: nothing the guest does can change that.
    """
    # An abstract address (Linux's own) leaves no file behind.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")
        listener.listen(1)
        fd = listener.fileno()
        argv = _command(fd, folder)
        server = start_helper(cleanup, argv, [fd], read_only=not writable)
        connection = cleanup.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(listener.getsockname())
    return server, connection


def _command(fd: int, folder: Path) -> list[str]:
    for path in VIRTIOFSD:
        if Path(path).exists():
            break
    else:
        raise LabError(
            "There is no virtiofsd on this machine.",
            "apt-get install virtiofsd (Debian 12: qemu-system-common)",
        )
    common = [path, f"--fd={fd}", "--rlimit-nofile=0"]
    usage = subprocess.run(
        [path, "--help"], capture_output=True, text=True, check=False
    )
    if "--shared-dir" in usage.stdout:
        return [*common, f"--shared-dir={folder}", "--cache=always", "--sandbox=chroot"]
    options = (f"source={folder}", "cache=always", "sandbox=chroot", "log_level=err")
    return [*common, *(word for option in options for word in ("-o", option))]
