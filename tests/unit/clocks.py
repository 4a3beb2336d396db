"""Clocks for modules under test, which go on only when a test says so."""

from __future__ import annotations

import time
from types import ModuleType, SimpleNamespace

import pytest


class StoppedClock:
    """Gives a module a monotonic clock that stands at ``now``, other users none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        """Begin with the time that it is."""
        self.now = time.monotonic()
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(module, "time", clock)
