"""What holds for all unit tests: clocks, signals, and huge pages.

No clock judges them. What they start meets signals as from a terminal, also where
nohup or a shell's background job has them ignored.

Tests that make VMAs of every kind take huge pages from the host's pool, and look at
what is left of it: they run in one worker, one after another, and wait for those of
another run of the tests.
"""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from forktrace.kinds import EveryKind
from forktrace.selftest.subject import Subject
from tests.unit.commands import forktrace  # noqa: F401 - a fixture for all

# Only for its lock. The pool's own file is locked for each change of it.
_POOL = Path("/proc/sys/vm/nr_overcommit_hugepages")

settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if _takes_huge_pages(getattr(item, "module", item)):
            item.add_marker(pytest.mark.xdist_group("huge pages"))


@pytest.fixture(scope="module", autouse=True)
def _huge_pages(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the pool for a module: some of its tests share what they took."""
    if not (_takes_huge_pages(request.module) and _POOL.exists()):
        yield
        return
    with _POOL.open() as pool:
        fcntl.flock(pool, fcntl.LOCK_EX)
        yield


def _takes_huge_pages(module: object) -> bool:
    values = vars(module).values()
    return any(made is value for made in (EveryKind, Subject) for value in values)
