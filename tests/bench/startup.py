"""How long it takes to be ready, on this machine itself: seconds, best of several.

Three programs, each a fresh process: forktrace with its own few headers, the same with
kernel headers, and bpftrace with kprobe.bt. None attaches anything, since this machine
may have no kprobes; bpftrace does not even load, as it loads while it attaches.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.packages import kernel_headers
from tests.bench.tracers import HERE
from tests.lab.errors import LabError

HEADER_SERIES = ("7.3", "7.2", "6.12", "6.1")
"""Those Debian has, newest first: an older BCC cannot compile the newest."""

ROUNDS = 5
LIMIT = 120.0


@dataclass(frozen=True)
class Start:
    """One way to start: ``seconds`` on the clock, ``cpu_seconds`` on the CPUs."""

    seconds: float
    cpu_seconds: float
    words: str


def measure_starts(bpftrace: Path) -> dict[str, Any]:
    """Return a Start of each program; raises LabError where one cannot start."""
    ours = [sys.executable, "-m", "tests.bench.compile"]
    headers = _usable_headers(ours)
    with tempfile.TemporaryDirectory() as empty:
        shutil.copy(HERE / "kprobe.bt", empty)
        theirs = _in_root(bpftrace, Path(empty))
        again = ["env", f"CACHE_DIRECTORY={empty}/kept", *ours]
        commands = {
            "forktrace": (ours, "compiled and loaded, no headers"),
            "forktrace again": (again, "loaded as compiled before"),
            "with headers": ([*ours, str(headers)], f"the same, {headers.name}"),
            "bpftrace": (theirs, "compiled only"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, (argv, _) in commands.items():
                found[name].append(_timed(argv))
    return {
        name: asdict(Start(min(s for s, _ in each), min(c for _, c in each), words))
        for (name, each), (_, words) in zip(found.items(), commands.values())
    }


def _usable_headers(ours: Sequence[str]) -> Path:
    """Return the newest kernel's headers that the installed BCC can compile."""
    for series in HEADER_SERIES:
        try:
            headers = kernel_headers(series)
            _timed([*ours, str(headers)])
        except LabError as error:
            print(f"No headers of {series}: {error.message}", file=sys.stderr)
        else:
            return headers
    raise LabError("The installed BCC compiles with no kernel's headers.")


def _in_root(root: Path, scripts: Path) -> list[str]:
    """Return bpftrace in its folder, with this machine's BTF, in a mount namespace."""
    mounts = [
        f"mount --rbind /{name} {root}/{name}" for name in ("proc", "sys", "dev")
    ] + [f"mount --bind {scripts} {root}/tmp"]
    # No mask and no offset of this machine's kernel: they change nothing in the work.
    script = "/tmp/kprobe.bt 0x80010001c00 200"
    start = f"chroot {root} /usr/bin/bpftrace --emit-elf /tmp/elf {script}"
    return ["unshare", "--mount", "sh", "-ec", " && ".join([*mounts, f"exec {start}"])]


def _timed(argv: Sequence[str]) -> tuple[float, float]:
    """Run a command and return seconds and CPU seconds, those of its children too."""
    cpu, began = _cpu_of_children(), time.monotonic()
    try:
        done = subprocess.run(
            argv,
            env={"CACHE_DIRECTORY": os.devnull} | os.environ,  # nothing is kept there
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} took more than {LIMIT:g} seconds.") from None
    seconds = time.monotonic() - began
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "rror" in line]
        raise LabError(f"{argv[2]}: {(errors or ['failed'])[0]}", details=done.stderr)
    return seconds, _cpu_of_children() - cpu


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
