"""A command is traced with its descendants, and names are chosen by a glob."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forktrace.report.command import read
from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    Forktrace,
    run_forktrace,
    wait_until,
)

pytestmark = pytest.mark.thorough

SUBSHELLS = "(:); (:); :"
"""Two forks; a shell may run a command by vfork, but not a subshell."""
# By a fork, and by what Python does, which is a vfork.
DESCENDANTS = f"(sh -c '{SUBSHELLS}'); exec {sys.executable} -c '{{}}'"
PYTHON = f'import subprocess; subprocess.run(["bash", "-c", "{SUBSHELLS}"])'


@pytest.mark.parametrize("attach", ["fentry", "kprobe"])
def test_forks_of_a_command_and_its_descendants_are_recorded_and_no_other(
    attach: str, tmp_path: Path
) -> None:
    stranger = subprocess.Popen(["dash", "-c", "while :; do (:); sleep 0.1; done"])
    command = ["sh", "-c", DESCENDANTS.format(PYTHON)]
    path = tmp_path / "forks.gz"
    try:
        done = run_forktrace(
            "record", "-o", str(path), "--attach", attach, "--", *command
        )
    finally:
        stranger.kill()
        stranger.wait()
    assert done.returncode == 0, done.stderr
    study = read(path)
    assert study.ended == "command"
    assert study.header.filters.command == tuple(command)
    told = {group.name: group.forks for group in study.processes}
    assert told["bash"] == 2
    # One by the command itself, two by the shell that it started in a subshell.
    assert told["sh"] == 3
    assert "dash" not in told
    assert study.host
    assert study.host.forks > study.forks


def test_how_the_command_ended_is_told_and_no_failure_of_ours() -> None:
    done = run_forktrace("trace", "--json", "--", "sh", "-c", "(:); echo said; exit 7")
    assert done.returncode == 0
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("type", each.get("comm")) for each in objects] == ["sh", "end"]
    assert "\nsaid\n" in done.stderr
    assert "sh ended with status 7." in done.stderr
    assert "1 fork shown (0 failed)" in done.stderr


def test_ctrl_c_goes_to_both(tmp_path: Path) -> None:
    """A terminal sends it to the whole process group."""
    ready, caught = tmp_path / "ready", tmp_path / "caught"
    script = (
        f"trap 'touch {caught}; exit' INT; touch {ready}; while :; do sleep 0.1; done"
    )
    recording = tmp_path / "forks.gz"
    process = subprocess.Popen(
        [*FORKTRACE, "record", "-o", recording, "--", "sh", "-c", script],
        start_new_session=True,
    )
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert caught.exists()
    # Whichever saw it first.
    assert read(recording).ended in ("stopped", "command")


def test_a_recording_comes_through_a_pipe() -> None:
    done = subprocess.run(
        [*FORKTRACE, "record", "-o", "-", "--", "sh", "-c", f"echo said; {SUBSHELLS}"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"said" in done.stderr
    report = subprocess.run(
        [*FORKTRACE, "report", "-", "--json"],
        input=done.stdout,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    told = json.loads(report.stdout)
    assert (told["forks"], told["ended"]) == (2, "command")


def test_names_are_chosen_by_a_glob(tmp_path: Path) -> None:
    trace = Forktrace(tmp_path, "trace", "--json", "--comm", "b?s[gh]", "--comm", "x*")
    try:
        for shell in ("dash", "bash", "dash", "bash"):
            subprocess.run([shell, "-c", SUBSHELLS], check=True)
        wait_until(lambda: len(trace.forks()) >= 4)
        assert trace.stop() == 0
    finally:
        trace.kill()
    assert [fork["comm"] for fork in trace.forks()] == ["bash"] * 4
    assert "4 forks shown" in trace.errors()
    assert "On the whole host:" in trace.errors()
