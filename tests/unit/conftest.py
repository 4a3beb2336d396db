"""Keeps tests that make VMAs of every kind in one worker, one after another.

They take huge pages from the host's pool, and look at what is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from forktrace.kinds import EveryKind
from forktrace.selftest.subject import Subject


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        module = vars(getattr(item, "module", item))
        if any(
            made is value for made in (EveryKind, Subject) for value in module.values()
        ):
            item.add_marker(pytest.mark.xdist_group("huge pages"))
