"""The command finds faults, keeps the input, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import target
from tests.fuzz.targets import TARGETS
from tests.unit.fuzz import planted

pytest.importorskip("atheris", reason="there is no wheel of atheris for this machine")
command = pytest.importorskip("tests.fuzz.__main__")


@pytest.fixture(autouse=True)
def _cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "CASES", tmp_path)
    monkeypatch.setattr(command, "CASES", tmp_path)


def test_a_planted_fault_is_found_and_its_input_kept(tmp_path: Path) -> None:
    one = planted.TARGETS["planted"]
    came = command.run(one, 10_000_000, 600, planted.__name__)
    assert came.failed
    (crash,) = came.crashes
    assert crash.parent == tmp_path / "planted"
    assert crash.read_bytes().startswith(b"for")
    with pytest.raises(ZeroDivisionError):
        one.try_one(crash.read_bytes())


def test_what_holds_is_told_with_its_figures() -> None:
    one = planted.TARGETS["sound"]
    came = command.run(one, 100, 600, planted.__name__)
    assert not came.failed
    assert came.inputs >= 100
    assert came.edges > 0
    assert "none" in came.line


def test_a_fuzzer_that_does_not_run_is_a_failure() -> None:
    assert command.run(TARGETS["words"], 500, 600, "no.such.module").failed
