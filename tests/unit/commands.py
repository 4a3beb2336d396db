"""Calls the command line in this process, where the process is not what is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from forktrace.__main__ import main


class Answer(NamedTuple):
    """What a command said, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Answer]


@pytest.fixture
def forktrace(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return how to call forktrace with some words."""

    def call(*words: str | Path) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capsys.readouterr())

    return call
