"""Tests that boot guests wait for their turn, for which no clock of pytest's runs.

A guest that hangs is ended by tests.lab, and one that works is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == _HERE:
            item.add_marker(pytest.mark.timeout(0))
