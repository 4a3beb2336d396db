"""systemd as process 1 of namespaces, as it runs in containers, with real units."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.guest.programs import PATIENCE, children, wait_until

SYSTEMD = Path("/usr/lib/systemd/systemd")
UNITS = Path("/run/systemd/system")


def change(unit: str, text: str) -> None:
    """Have a unit differ here from what its file says."""
    drop_in = UNITS / f"{unit}.d/here.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(text)


@contextmanager
def systemd(unit: str) -> Iterator[int]:
    """Start one that starts a unit; yields its process id out here."""
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    program = ("env", "container=other", str(SYSTEMD), "--system", f"--unit={unit}")
    running = subprocess.Popen(
        ["unshare", *namespaces, "--cgroup", *program], stdin=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: children(running.pid))
        (pid,) = children(running.pid)
        yield pid
    finally:
        running.kill()
        running.wait(PATIENCE)
