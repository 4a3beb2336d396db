"""Kernels booted with lockdown: what still works works, the rest is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.guest.faults.watched import daemon, fork
from tests.live.guest.programs import run_forktrace, words_of

PORT = 19490
FORKS = 23
LOCKDOWN = Path("/sys/kernel/security/lockdown")


def booted_with(mode: str) -> None:
    if f"[{mode}]" not in (LOCKDOWN.read_text() if LOCKDOWN.exists() else ""):
        pytest.skip(f"this kernel was not booted with lockdown={mode}")


@pytest.mark.fault("lockdown=integrity", "it traces, and counts every fork")
def test_it_traces_under_lockdown_for_integrity(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    booted_with("integrity")
    with daemon(tmp_path, PORT) as run, run.counting_exactly() as made:
        made.append(fork(FORKS))
    rule = json.loads(run_forktrace("doctor", "--json").stdout)["rule"]
    saw(f"{sum(made)} forks of {sum(made)}, rule read from {rule['read_from']}")


@pytest.mark.fault(
    "lockdown=confidentiality",
    "one line says so, status 3, and doctor says what to do",
)
def test_lockdown_for_confidentiality_is_said(saw: Callable[[str], None]) -> None:
    booted_with("confidentiality")
    refused = run_forktrace("run")
    assert refused.returncode == 3, refused
    assert "lockdown" in refused.stderr
    assert len(words_of(refused.stderr)) <= 2
    told = json.loads(run_forktrace("doctor", "--json").stdout)
    (check,) = [each for each in told["checks"] if each["name"] == "lockdown"]
    assert not check["ok"]
    assert not told["can_trace"]
    saw(f"{words_of(refused.stderr)[0]} {check['fix']}")
