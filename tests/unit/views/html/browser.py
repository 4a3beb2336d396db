"""A real browser that opens a page without a network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.patience import PATIENCE

BROWSER = shutil.which("chromium") or ""


def browse(page: Path, folder: Path, theme: str) -> tuple[str, list[str]]:
    """Return the document as it is after the scripts ran, and what they complained."""
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", f"--user-data-dir={folder}/profile"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000"),
            f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}",
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
