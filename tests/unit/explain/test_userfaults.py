"""Whether a process's userfaultfds report forks, from real ones of this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forktrace.explain.userfaults import reports_forks
from forktrace.kinds import EveryKind


@pytest.fixture
def holding() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hold(stack: ExitStack, kind: str) -> None:
    every = stack.enter_context(EveryKind([kind]))
    if every.skipped:
        pytest.skip(every.skipped[0].reason)


def test_without_any_it_is_not_known() -> None:
    assert reports_forks("self") is None


def test_one_that_does(holding: ExitStack) -> None:
    hold(holding, "uffd_wp_event_fork")
    assert reports_forks(os.getpid()) is True


def test_one_that_does_not(holding: ExitStack) -> None:
    hold(holding, "uffd_wp")
    assert reports_forks(os.getpid()) is False


def test_two_that_differ_leave_it_open(holding: ExitStack) -> None:
    hold(holding, "uffd_wp")
    hold(holding, "uffd_wp_event_fork")
    assert reports_forks(os.getpid()) is None


def test_a_process_that_is_gone() -> None:
    assert reports_forks(0) is None
