"""Everything in tests/live/guest, on each kernel of the list.

One boot a kernel; what takes long runs on one kernel alone, in boots of its own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.container.image import CannotBuild, image
from tests.lab import SERIES, Machine, extra_kernels, run_guest
from tests.lab.architectures import architecture_of
from tests.live.matrix import RESULTS

CORE = ("7.3-arm64", "7.3", "6.12", "6.1", "6.19")
"""What every run of the tests boots: each rule that Debian's kernels since 6.1 have.

FORKTRACE_KERNELS=all boots each that is known.
"""

THOROUGH = "7.3"
"""Where every test runs; elsewhere those that a kernel can decide differently."""

LONG = "test_cost or test_top or test_record"
"""The half of them that a boot of its own is for."""

PARTS = {"long": LONG, "rest": f"not ({LONG})"}

SECONDS, OTHER_SECONDS = 1800, 3600
"""For one test, on a processor of this machine's kind and on another."""


def kernels() -> list[str]:
    """Return the kernels asked for, and the extra ones."""
    asked = os.environ.get("FORKTRACE_KERNELS", "core")
    known = {"core": CORE, "all": tuple(dict.fromkeys((*CORE, *SERIES)))}
    chosen = known[asked] if asked in known else tuple(asked.split())
    return [*chosen, *extra_kernels()]


# First, so that the last to end is not the longest.
@pytest.mark.skipif(THOROUGH not in kernels(), reason="that kernel is not asked for")
@pytest.mark.parametrize("part", PARTS)
def test_what_takes_long_holds(part: str, tmp_path: Path) -> None:
    env = container_image() if part == "rest" else {}
    run_tests(THOROUGH, tmp_path, "-m", "thorough", "-k", PARTS[part], env=env)


@pytest.mark.parametrize("kernel", kernels())
def test_everything_holds_on(kernel: str) -> None:
    run_tests(kernel, RESULTS / kernel, "-m", "not thorough and not fault")


def container_image() -> Mapping[str, str]:
    """Return what tells the guest where the image is, or why there is none."""
    try:
        return {"FORKTRACE_IMAGE": str(image())}
    except CannotBuild as error:
        return {"FORKTRACE_NO_IMAGE": f"{error.message} {error.advice}".strip()}


def run_tests(
    kernel: str, results: Path, *chosen: str, env: Mapping[str, str] | None = None
) -> None:
    """Run the chosen tests in a guest, which all have to pass."""
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    seconds = SECONDS if architecture_of(kernel).native else OTHER_SECONDS
    result = run_guest(
        kernel,
        [
            *(sys.executable, "-m", "pytest", "tests/live/guest", *chosen),
            *("-p", "no:cacheprovider", "--timeout", f"{seconds}", "--tb", "short"),
            f"--junitxml={results}/tests.xml",
        ],
        results=results,
        env=env,
        machine=Machine(timeout=seconds + 300),
        stream=sys.stdout.buffer,
    )
    assert result.status == 0, result.output[-6000:]
