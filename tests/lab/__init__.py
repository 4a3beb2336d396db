"""The lab: real Debian kernels, and virtual machines to run commands on them."""

from __future__ import annotations

from tests.lab.errors import GuestTimeout, LabError
from tests.lab.kernels import (
    SERIES,
    Kernel,
    debian_kernels,
    extra_kernels,
    find_kernel,
)
from tests.lab.vm import Machine, Result, run_guest

__all__ = [
    "SERIES",
    "GuestTimeout",
    "Kernel",
    "LabError",
    "Machine",
    "Result",
    "debian_kernels",
    "extra_kernels",
    "find_kernel",
    "run_guest",
]
