"""The command line: what is wrong is said in one or two lines, with its status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forktrace import __version__, diagnosis
from forktrace.kernel.host import can_trace, check_host
from tests.patience import PATIENCE
from tests.unit.commands import Command

TRACEABLE = can_trace(check_host())


@pytest.mark.parametrize("command", ["run", "trace", "doctor"])
def test_every_command_has_help_with_an_example(
    forktrace: Command, command: str
) -> None:
    answer = forktrace(command, "--help")
    assert answer.returncode == 0
    assert f"Example: sudo forktrace {command}" in answer.stdout


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--version >/dev/full", 1),
        ("doctor --help >/dev/full", 1),
        ("nonsense 2>/dev/full", 2),
    ],
)
def test_a_full_device_is_one_line_and_keeps_the_status(
    words: str, status: int
) -> None:
    answer = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m forktrace {words}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == status, answer
    said = [] if "2>" in words else ["forktrace: No space left on device."]
    assert answer.stderr.splitlines() == said


def test_the_version_is_told() -> None:
    words = [sys.executable, "-m", "forktrace", "--version"]
    assert subprocess.check_output(words, text=True) == f"forktrace {__version__}\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("nonsense", 2),
        ("--listen", 2),
        ("trace --nonsense", 2),
        ("trace --pid x", 2),
        ("trace --pid -1", 2),
        ("trace --pid 99999999", 2),
        ("trace --count 1.5", 2),
        ("trace --min-duration -1", 2),
        ("trace --min-duration inf", 2),
        ("trace --min-duration nan", 2),
        ("record -o f --min-duration inf", 2),
        ("record -o f --min-duration 1e308", 2),
        ("trace extra", 2),
        ("run --attach magic", 2),
        ("run --decision", 2),
        ("run --listen nonsense", 2),
        ("run --listen :1 --web.listen-address nonsense", 2),
        ("run --web.telemetry-path metrics", 2),
        ("run --web.telemetry-path /healthz", 2),
        ("run --log.level loud", 2),
        ("run --listen 127.0.0.1:65536", 2),
        ("run --max-comms 101", 2),
        ("run --textfile /no/such/folder", 1),
        ("run --textfile /proc", 1),
        ("run --web.config.file /no/such/file", 1),
        ("run --web.config.file /proc/self/mem", 1),
        ("top --interval 0", 2),
        ("top --sort magic", 2),
        ("record", 2),
        ("record -o /no/such/folder/file", 2),
        ("record -o /tmp", 2),
        ("record -o /dev/null", 2),
        ("record -o f --max-size much", 2),
        ("report /no/such/file", 2),
        ("report /tmp", 2),
        ("report /dev/null", 1),
        ("report /etc/passwd", 1),
        ("explain", 2),
        ("explain 1 --all", 2),
        ("explain 0", 2),
        ("explain 4194304", 1),
        ("explain 1 --rule 4.4", 2),
        ("explain 1 --measured /no/such/file", 1),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(
    forktrace: Command, words: str, status: int
) -> None:
    answer = forktrace(*words.split())
    assert answer.returncode == status, answer
    assert answer.stdout == ""
    assert 1 <= len(answer.stderr.splitlines()) <= 2
    assert all(line.startswith("forktrace: ") for line in answer.stderr.splitlines())


def test_ctrl_c_while_modules_are_imported_ends_quietly(tmp_path: Path) -> None:
    interrupted = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "typer.py").write_text(interrupted)
    answer = subprocess.run(
        [sys.executable, "-m", "forktrace", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == -signal.SIGINT
    assert (answer.stdout, answer.stderr) == ("", "")


def test_running_out_of_memory_is_said_so(
    forktrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(**_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(diagnosis, "report", greedy)
    answer = forktrace("doctor")
    assert answer.returncode == 1
    said = answer.stderr.splitlines()
    assert said[0] == "forktrace: Out of memory."
    assert len(said) == 2


@pytest.mark.skipif(TRACEABLE, reason="this host can be traced")
@pytest.mark.parametrize("words", [(), ("run",), ("trace",)])
def test_a_host_that_cannot_be_traced_is_told_so(
    forktrace: Command, words: tuple[str, ...]
) -> None:
    answer = forktrace(*words)
    assert answer.returncode == 3
    assert answer.stderr.startswith("forktrace: This host cannot be traced: ")
    assert len(answer.stderr.splitlines()) == 2
    missing = [check for check in check_host() if check.required and not check.ok]
    assert all(check.detail in answer.stderr for check in missing)


@pytest.mark.skipif(TRACEABLE, reason="this host can be traced")
def test_doctor_says_what_is_missing_and_how_to_mend_it(forktrace: Command) -> None:
    answer = forktrace("doctor")
    assert answer.returncode == 3
    assert "fix: " in answer.stdout
    assert answer.stdout.endswith("This host cannot be traced.\n")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    answer = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m forktrace doctor | true"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.stderr == ""
