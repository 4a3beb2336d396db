"""Everything in tests/live/guest, on each kernel of the list, one boot a kernel."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.lab import SERIES, Machine, extra_kernels, run_guest
from tests.live.matrix import RESULTS

CORE = ("7.3", "6.12", "6.1", "6.18", "6.19")
"""What every run of the tests boots; FORKTRACE_KERNELS=all boots each that is known."""

THOROUGH = ("7.3",)
"""Where every test runs; elsewhere those that a kernel can decide differently."""

BOOT_AND_TESTS_SECONDS = 1500


def kernels() -> list[str]:
    """Return the kernels asked for, the longest to test first, and the extra ones."""
    asked = os.environ.get("FORKTRACE_KERNELS", "core")
    known = {"core": CORE, "all": tuple(dict.fromkeys((*CORE, *SERIES)))}
    chosen = known[asked] if asked in known else tuple(asked.split())
    return sorted([*chosen, *extra_kernels()], key=lambda name: name not in THOROUGH)


@pytest.mark.timeout(2 * BOOT_AND_TESTS_SECONDS)
@pytest.mark.parametrize("kernel", kernels())
def test_everything_holds_on(kernel: str) -> None:
    results: Path = RESULTS / kernel
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    chosen = [] if kernel in THOROUGH else ["-m", "not thorough"]
    result = run_guest(
        kernel,
        [
            *(sys.executable, "-m", "pytest", "tests/live/guest", *chosen),
            *("-p", "no:cacheprovider", "--timeout", "300", "--tb", "short"),
            f"--junitxml={results}/tests.xml",
        ],
        results=results,
        machine=Machine(timeout=BOOT_AND_TESTS_SECONDS),
        stream=sys.stdout.buffer,
    )
    assert result.status == 0, result.output[-6000:]
