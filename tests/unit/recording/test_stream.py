"""A recording on standard output is what it would be in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forktrace.errors import ForktraceError, UsageError
from forktrace.recording import stream
from forktrace.recording.reader import STANDARD
from forktrace.report.command import read
from tests.patience import PATIENCE
from tests.unit.recording.samples import fork
from tests.unit.recording.test_command import (  # noqa: F401
    disk,
    noise,
    recorded,
    signals,
)

Recorded = Callable[..., tuple[int, Path]]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that stands for standard output."""
    path = tmp_path / "out"
    with path.open("wb") as file:
        monkeypatch.setattr(stream, "_STANDARD_OUTPUT", file.fileno())
        yield path


def test_it_holds_what_a_file_would(
    recorded: Recorded,  # noqa: F811
    output: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _ = recorded([[fork(0)], [], [fork(1), fork(2)]], path=STANDARD)
    assert status == 0
    study = read(output)
    assert (study.forks, study.ended) == (3, "stopped")
    assert os.listdir(tmp_path) == ["out"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "\n3 forks in standard output, " in said.err
    assert "Look at it" not in said.err


def test_it_is_bounded_as_a_file_is(recorded: Recorded, output: Path) -> None:  # noqa: F811
    batches = [[noise(n)] for n in range(100)]
    status, _ = recorded(batches, path=STANDARD, max_bytes=64 << 10)
    assert status == 0
    assert output.stat().st_size <= 64 << 10
    assert read(output).ended == "max_size"


def test_what_no_longer_fits_is_the_end(
    recorded: Recorded,  # noqa: F811
    output: Path,
    disk: dict[str, int],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk["room"] = 30_000
    status, _ = recorded([[noise(n)] for n in range(100)], path=STANDARD)
    assert status == 1
    disk["room"] = 1 << 30
    study = read(output)
    assert (study.forks > 2, study.ended) == (True, "cut_off")
    assert "The disk is full. standard output holds" in capsys.readouterr().err


def test_a_reader_that_is_gone_is_one_line(
    recorded: Recorded,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.pipe()
    monkeypatch.setattr(stream, "_STANDARD_OUTPUT", theirs)
    batches: list[Any] = [[fork(0)]]
    os.close(ours)
    with pytest.raises(ForktraceError, match="standard output: Broken pipe"):
        recorded(batches, path=STANDARD)
    os.close(theirs)


def test_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="nothing to look at on a terminal"):
        stream.check_stream()


def test_the_command_line_refuses_a_terminal_before_anything_else() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "forktrace", "record", "-o", "-"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "forktrace: A recording is nothing to look at on a terminal.",
        "forktrace: Pipe it: forktrace record -o - | forktrace report -",
    ]
