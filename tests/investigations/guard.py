"""guarded.c: built where there is a compiler, preloaded where there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from forktrace.errors import ForktraceError

SOURCE = Path(__file__).with_name("guarded.c")
LIBRARY = "guarded.so"


def build(folder: Path) -> None:
    """Leave the library in ``folder``; raises ForktraceError without a compiler."""
    command = [
        "cc",
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        str(folder / LIBRARY),
        str(SOURCE),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ForktraceError(
            "There is no C compiler on this machine.", "apt-get install gcc libc6-dev"
        ) from None
    if done.returncode:
        raise ForktraceError(f"{SOURCE.name} cannot be compiled: {done.stderr}")


def preloaded(
    results: Path, folder: Path, settings: Mapping[str, str]
) -> tuple[str, ...]:
    """Return what runs another command with the library and its settings.

    ``results`` has the library, and may be closed to the user whom the command runs
    as, where the loader would go on without: so it is copied to ``folder``.

    Addresses are not random then: two runs have their mappings in the same places, so
    that their page tables can be told apart by what was changed alone.
    """
    library = shutil.copy(results / LIBRARY, folder)
    pairs = [f"{name}={value}" for name, value in settings.items()]
    return ("setarch", "-R", "env", f"LD_PRELOAD={library}", *pairs)
