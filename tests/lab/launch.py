"""Runs a helper that ends with its parent, and may see the host read-only.

    python launch.py [--read-only] COMMAND...

A script of its own because what it sets up belongs to the new process alone. It
imports nothing but the standard library, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
# Linux 5.12, commit 2a1867219c7b ("fs: add mount_setattr()"); the number is the
# same on every architecture.
SYS_MOUNT_SETATTR = 442
MOUNT_ATTR_RDONLY = 1
AT_FDCWD = -100
AT_RECURSIVE = 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


class MountAttr(ctypes.Structure):
    """Mirror ``struct mount_attr`` of include/uapi/linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def main(argv: list[str]) -> None:
    """Become the command; exit 127 with one line where that cannot be done."""
    parent = os.getppid()
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    if os.getppid() != parent:
        sys.exit(1)
    # virtiofsd holds a descriptor for every file the guest has looked at.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if argv[0] == "--read-only":
        argv = argv[1:]
        make_everything_read_only()
    os.execv(argv[0], argv)


def make_everything_read_only() -> None:
    """Make every mount read-only, in a mount namespace of this process alone."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount")
    attr = MountAttr(attr_set=MOUNT_ATTR_RDONLY)
    arguments = (AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attr), ctypes.sizeof(attr))
    _check(_libc.syscall(SYS_MOUNT_SETATTR, *arguments), "mount_setattr")


def _check(result: int, name: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"{name}: {os.strerror(number)} ({platform.release()})")


if __name__ == "__main__":
    main(sys.argv[1:])
