"""Everything in tests/live/guest, on each kernel of the list, one boot a kernel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.lab import SERIES, Machine, extra_kernels, run_guest

CORE = ("6.1", "6.12", "6.18", "6.19", "7.3")
"""What every run of the tests boots; FORKTRACE_KERNELS=all boots each that is known."""

BOOT_AND_TESTS_SECONDS = 900


def kernels() -> list[str]:
    """Return the kernels asked for: the core or all, and the extra ones."""
    asked = os.environ.get("FORKTRACE_KERNELS", "core")
    known = {"core": CORE, "all": SERIES}
    chosen = known[asked] if asked in known else tuple(asked.split())
    return [*chosen, *extra_kernels()]


@pytest.mark.timeout(BOOT_AND_TESTS_SECONDS + 120)
@pytest.mark.parametrize("kernel", kernels())
def test_everything_holds_on(kernel: str, tmp_path: Path) -> None:
    result = run_guest(
        kernel,
        [
            *(sys.executable, "-m", "pytest", "tests/live/guest"),
            *("-p", "no:cacheprovider", "--timeout", "300", "--tb", "short"),
        ],
        results=tmp_path,
        machine=Machine(timeout=BOOT_AND_TESTS_SECONDS),
        stream=sys.stdout.buffer,
    )
    assert result.status == 0, result.output[-6000:]
