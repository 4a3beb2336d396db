"""The virtual machine of the demo: which kernel, and the guest script run on it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import BinaryIO

from tests.lab import Kernel, LabError, Machine, Result, debian_kernels, run_guest

REPOSITORY = Path(__file__).resolve().parents[2]


def newest_series() -> str:
    """Return the newest series of Linux 7 that Debian has; raises LabError."""
    series = [name for name in debian_kernels() if re.fullmatch(r"7\.\d+", name)]
    if not series:
        raise LabError("Debian's package lists name no kernel of Linux 7.")
    return max(series, key=lambda name: int(name.split(".")[1]))


def run_demo(
    kernel: Kernel | str,
    results: Path,
    stream: BinaryIO | None = None,
) -> Result:
    """Run the guest script on ``kernel``; what it measured is in ``results``.

    Raises LabError where there is no such kernel or the guest does not live.
    """
    # One CPU: emulated ones take turns of up to 100 ms, which would fall on Redis's
    # clock after fork has returned.
    machine = Machine(smp=1, memory=2048)
    return run_guest(
        kernel,
        [sys.executable, "-m", "tests.demo.guest"],
        results=results,
        cwd=REPOSITORY,
        machine=machine,
        stream=stream,
    )
