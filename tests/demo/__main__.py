"""``make run``: trace this host if its kernel can be, else one in a virtual machine."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from forktrace.errors import EXIT_FAILED, ForktraceError, Unsupported
from forktrace.kernel.host import Check, check_host
from tests.demo.machine import newest_series, run_demo
from tests.demo.measured import Measured
from tests.demo.report import WIDTH, Section, next_steps, sections
from tests.demo.tracer import FORKTRACE
from tests.lab import debian_kernels
from tests.lab.cache import cache_folder


def main() -> int:
    """Return the exit status; every error ends here in one or two lines."""
    try:
        missing = kernel_lacks(check_host())
        if not missing:
            trace_this_host()
        return trace_virtual_machine(missing)
    except ForktraceError as error:
        print(f"demo: {error.message}", file=sys.stderr)
        if error.advice:
            print(f"demo: {error.advice}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"demo: {error.strerror or error}{where}.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def kernel_lacks(checks: Sequence[Check]) -> list[str]:
    """Return what keeps this host from being traced, whoever asks.

    Not being root is no such reason: sudo helps there.
    """
    failed = [check for check in checks if check.required and not check.ok]
    return [check.detail for check in failed if check.name != "privileges"]


def trace_this_host() -> NoReturn:
    """Become ``forktrace run``, as root; raises Unsupported where there is no sudo."""
    command = [str(FORKTRACE), "run"]
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise Unsupported("Tracing this host needs root.", "Run as root: make run")
        command.insert(0, "sudo")
    _say(f"This host can be traced: {' '.join(command)}")
    os.execvp(command[0], command)


def trace_virtual_machine(missing: Sequence[str]) -> int:
    """Trace Redis on Debian's newest kernel; return 0 if all that was seen is right.

    What was measured is kept in the cache, in results/demo.
    """
    if os.geteuid() != 0:
        raise Unsupported(
            f"This host's kernel cannot be traced: {'; '.join(missing)}; a virtual "
            "machine with another one needs root.",
            "Run as root: make run",
        )
    series = newest_series()
    release = debian_kernels()[series].release
    _say(
        f"This host's kernel ({os.uname().release}) cannot be traced: "
        f"{'; '.join(missing)}. So Debian's {release} is booted in a throw-away "
        "virtual machine (emulated, hence slow), with a real redis-server in it:"
    )
    # A folder for this run alone: somebody may run another one beside it.
    with tempfile.TemporaryDirectory(prefix="demo-", dir=cache_folder()) as folder:
        result = run_demo(series, Path(folder), sys.stdout.buffer)
        if result.status != 0:
            return result.status
        measured = Measured.read(Path(folder))
    measured.write(cache_folder() / "results" / "demo")
    for section in sections(measured):
        _show(section)
    _show(next_steps(measured.url))
    return EXIT_FAILED if measured.problems() else 0


def _say(text: str) -> None:
    print(textwrap.fill(text, WIDTH, break_on_hyphens=False), flush=True)


def _show(section: Section) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print()
    console.print(section.title, style="bold")
    for line in section.lines:
        console.print(line)


if __name__ == "__main__":
    sys.exit(main())
