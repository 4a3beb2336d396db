"""How long tests wait: for the thing itself, with one limit that no busy machine meets.

A wait that reaches it is over something that does not happen at all.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

PATIENCE = 300.0 if platform.machine() == "x86_64" else 1200.0
"""Seconds until what should happen counts as not happening; others are emulated."""


def wait_until(true: Callable[..., object], patience: float = PATIENCE) -> None:
    """Wait for ``true()``; TimeoutError when it does not come true."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.05)
