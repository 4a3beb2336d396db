"""A child opens the probes of a process that may not any more, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.tracer.attach import Place
from forktrace.tracer.opener import OpenerChild

NOWHERE = Place("no_such_function_in_any_kernel")


@pytest.fixture
def opener() -> Iterator[OpenerChild]:
    child = OpenerChild([NOWHERE])
    yield child
    child.close()


def children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(child) for child in listed.split()]


def test_a_refusal_comes_back_as_the_error_that_it_was(opener: OpenerChild) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match=r".+") as caught:
            opener(NOWHERE)
        assert caught.value.errno


def test_places_that_it_was_not_made_for_are_not_even_asked_for(
    opener: OpenerChild,
) -> None:
    with pytest.raises(ValueError, match="not in"):
        opener(Place("kernel_clone"))


def test_a_child_that_is_gone_is_an_error_and_no_end() -> None:
    before = set(children())
    opener = OpenerChild([NOWHERE])
    (child,) = set(children()) - before
    os.kill(child, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(OSError, match=r"(Broken pipe|reset by peer)"):
            opener(NOWHERE)
    opener.close()
    assert set(children()) == before


def test_it_holds_nothing_that_its_parent_has_open() -> None:
    ours, theirs = os.pipe()
    before = set(children())
    opener = OpenerChild([NOWHERE])
    with pytest.raises(OSError, match=r".+"):
        opener(NOWHERE)  # by now it has closed what it inherited
    (child,) = set(children()) - before
    held = [os.readlink(entry) for entry in Path(f"/proc/{child}/fd").iterdir()]
    assert os.readlink(f"/proc/self/fd/{ours}") not in held
    assert len([name for name in held if name.startswith("socket:")]) >= 1
    opener.close()
    os.close(ours)
    os.close(theirs)
