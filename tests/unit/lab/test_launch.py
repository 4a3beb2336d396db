"""What the launcher promises about the processes it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.shares import LAUNCH
from tests.patience import wait_until

START = [sys.executable, "-IS", str(LAUNCH)]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@needs_root
def test_a_read_only_process_can_write_nowhere(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/dev/shm")):
        file = folder / "written"
        argv = [*START, "--read-only", "/usr/bin/touch", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Read-only file system" in done.stderr
        assert not file.exists()


@needs_root
def test_everyone_else_can_still_write(tmp_path: Path) -> None:
    argv = [*START, "--read-only", "/bin/sh", "-c", "echo ready; read end"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout
        assert held.stdin
        assert held.stdout.readline() == b"ready\n"
        (tmp_path / "file").write_text("written")
        held.stdin.close()


def test_a_helper_ends_with_its_parent() -> None:
    parent = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen({[*START, '/bin/sleep', '3600']!r});"
        "print(child.pid, flush=True); time.sleep(3600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        helper = int(process.stdout.readline())
        wait_until(lambda: command_of(helper) == "sleep")
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: command_of(helper) == "")


def command_of(pid: int) -> str:
    """Return the name of a process, "" once it has ended (reaped or not)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if "State:\tZ" in status or "State:\tX" in status:
        return ""
    return status.split()[1]
