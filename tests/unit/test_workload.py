"""A command to be traced is started as it is, and never left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forktrace.errors import ForktraceError
from forktrace.workload import Workload
from tests.patience import PATIENCE, wait_until


def test_its_end_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    workload = Workload(["sh", "-c", "echo $PPID-$0", "x"])
    assert not workload.ended
    workload.start()
    wait_until(lambda: workload.ended)
    workload.end()
    out, err = capfd.readouterr()
    assert (out.endswith("-x\n"), err) == (True, "")


def test_quiet_it_prints_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    workload = Workload(["echo", "hello"], quiet=True)
    workload.start()
    wait_until(lambda: workload.ended)
    assert capfd.readouterr() == ("", "hello\n")
    workload.end()


def test_how_it_failed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for script, said in [
        ("exit 7", "sh ended with status 7.\n"),
        ("kill -SEGV $$", "sh was ended by a signal: Segmentation fault.\n"),
    ]:
        workload = Workload(["sh", "-c", script])
        workload.start()
        wait_until(lambda workload=workload: workload.ended)
        workload.end()
        assert capsys.readouterr().err == said


def test_it_is_told_to_end_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    workload = Workload(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"])
    pid = workload.start()
    wait_until(lambda: has_trap(pid))
    workload.end()
    assert workload.ended is False
    assert "status" not in capsys.readouterr().err


def has_trap(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> 14 & 1)


def test_what_was_never_started_has_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    Workload(["sh"]).end()
    assert capsys.readouterr().err == ""


def test_a_command_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ForktraceError, match="There is no command no-such-thing"):
        Workload(["no-such-thing"])


@pytest.mark.parametrize("command", [["trace"], ["record", "-o", "/dev/shm/never"]])
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--", "no-such-thing", "-c", "x"], 1, "There is no command no-such-thing."),
        (["-p", "1", "--", "true"], 2, "A command is traced with its descendants, "),
        (["--cgroup", "/", "--", "true", "-p"], 2, "A command is traced with its "),
        (["true"], 2, "forktrace "),
        (["true", "--", "x"], 2, "forktrace "),
    ],
)
def test_what_cannot_be_traced_is_said_before_anything_else(
    command: list[str], words: list[str], status: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "forktrace", *command, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"forktrace: {said}")
