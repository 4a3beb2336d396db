"""The virtual machine of an investigation, and what is made ready for it outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from tests.demo.machine import REPOSITORY, newest_series
from tests.investigations import guard
from tests.investigations.servers import java
from tests.lab import Machine, Result, run_guest

MEMORY = {"redis": 3072, "postgresql": 3072, "programs": 2560}
"""In MiB, by investigation."""


def investigate(name: str, results: Path, stream: BinaryIO | None = None) -> Result:
    """Make one investigation in a guest; what it found is in ``results``.

    Raises ForktraceError where a compiler is missing or the guest does not live.
    """
    results.mkdir(parents=True, exist_ok=True)
    if name == "programs":
        java.compiled(results)
    else:
        guard.build(results)
    return run_guest(
        newest_series(),
        [sys.executable, "-m", "tests.investigations.guest", name],
        results=results,
        cwd=REPOSITORY,
        machine=Machine(memory=MEMORY[name]),
        stream=stream,
    )
