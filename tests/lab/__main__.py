"""Runs a command on a kernel: ``python -m tests.lab --kernel 7.3 -- CMD...``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from forktrace.errors import ForktraceError, UsageError
from tests.lab import Machine, debian_kernels, extra_kernels, find_kernel, run_guest
from tests.lab.architectures import ALL

EPILOG = """
examples:
  python -m tests.lab --list
  python -m tests.lab --kernel 7.3 -- uname -a
  python -m tests.lab --kernel 6.1 --memory 4096 -- .venv/bin/forktrace doctor
  python -m tests.lab --kernel 7.3-arm64 -- python3 -m forktrace selftest
  python -m tests.lab --kernel /boot/vmlinuz-6.1.0 --results out -- cp /etc/fstab out

The command runs as root, sees this machine's files read-only, and may write to the
results folder (also $RESULTS), /tmp, /var/tmp, /run and /dev/shm. The exit status is
the command's. On arm64 it sees this repository and the current folder alone, in a
Debian 13 of its own.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; defaults are those of Machine."""
    default = Machine()
    described = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description="Run a command on a kernel in a virtual machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = described.add_argument
    add("--list", action="store_true", help="list the kernels there are")
    add("--fetch", nargs="+", metavar="KERNEL", help="only download these kernels")
    add("--kernel", help='a series ("7.3", "7.3-arm64"), or the path of an image')
    add("--smp", type=int, default=default.smp, help="CPUs (%(default)s)")
    add("--memory", type=int, default=default.memory, help="in MiB (%(default)s)")
    add(
        "--timeout",
        type=float,
        default=default.timeout,
        help="s of silence (%(default)s)",
    )
    add("--results", type=Path, help="the folder the guest may write to")
    add("--env", action="append", default=[], metavar="NAME=VALUE")
    add("--icount", action="store_true", help="one CPU, 1 ns is 1 instruction")
    add("--append", default="", help="added to the kernel's command line")
    add("--console", action="store_true", help="show the kernel's console afterwards")
    add("command", nargs="*", metavar="CMD", help="the command, after --")
    return described


def main(argv: list[str]) -> int:
    """Do what the command line asks for; return the exit status."""
    options = parser().parse_args(argv)
    # Ends in order, as Ctrl-C does, instead of leaving that to the kernel.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.list:
            return _list()
        if options.fetch:
            return _fetch(options.fetch)
        return _run(options)
    except ForktraceError as error:
        print(f"error: {error.message}", error.advice, sep="\n", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


def _list() -> int:
    for arch in ALL:
        for kernel in debian_kernels(arch).values():
            print(f"{kernel.series:18} {kernel.release:30} {kernel.package.name}")
    for extra in extra_kernels().values():
        print(f"{extra.name:18} {extra.image}")
    return 0


def _fetch(names: list[str]) -> int:
    for name in names:
        print(f"{name:18} {find_kernel(name).image}")
    return 0


def _run(options: argparse.Namespace) -> int:
    if not options.kernel or not options.command:
        raise UsageError("Say which kernel and what to run: --kernel 7.3 -- CMD...")
    result = run_guest(
        options.kernel,
        options.command,
        results=options.results,
        env=dict(pair.split("=", 1) for pair in options.env),
        machine=Machine(
            smp=options.smp,
            memory=options.memory,
            timeout=options.timeout,
            icount=options.icount,
            cmdline=options.append,
        ),
        stream=sys.stdout.buffer,
    )
    if options.console:
        sys.stderr.write(result.console)
    return result.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
