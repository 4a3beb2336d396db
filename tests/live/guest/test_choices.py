"""Only the forks asked for are shown, and the rest of the host is not passed over."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.programs import Forktrace, run_forktrace, wait_until
from tests.live.guest.storms import fork_storm

pytestmark = pytest.mark.thorough

NAMES = ("sh", "bash")
SCRIPT = "(:); (exec /bin/true); (:)"
"""Three forks; a shell may run a command by vfork, but not a subshell."""


def objects(trace: Forktrace) -> list[dict[str, Any]]:
    """Return all that was printed so far, in whole lines."""
    text = trace.stdout.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def discards(trace: Forktrace) -> list[dict[str, Any]]:
    return [each for each in objects(trace) if each.get("type") == "exec"]


@pytest.mark.parametrize("attach", ["fentry", "kprobe"])
def test_each_of_several_names_is_shown_and_no_other(
    attach: str, tmp_path: Path
) -> None:
    chosen = [word for name in NAMES for word in ("--comm", name)]
    trace = Forktrace(tmp_path, "trace", "--json", "--attach", attach, *chosen)
    try:
        with fork_storm(3, processes=1) as storm:  # python's
            storm.ask("go")
        for name in NAMES:
            subprocess.run([name, "-c", SCRIPT], check=True)
        wait_until(lambda: {each["comm"] for each in discards(trace)} == set(NAMES))
        assert trace.stop() == 0
    finally:
        trace.kill()
    *told, end = objects(trace)
    forks = [each for each in told if "type" not in each]
    assert {fork["comm"] for fork in forks} == set(NAMES)
    # One child of each called exec; what was lost is said last.
    assert len(discards(trace)) == len(NAMES)
    assert (end["type"], end["lost"]) == ("end", {})
    said = trace.errors()
    assert f"{len(forks)} forks shown" in said
    assert "On the whole host:" in said


@contextmanager
def forking_shell() -> Iterator[int]:
    shell = subprocess.Popen(["sh", "-c", "while :; do (:); sleep 0.1; done"])
    try:
        yield shell.pid
    finally:
        shell.kill()
        shell.wait()


def test_each_of_several_processes_is_shown_and_no_other(tmp_path: Path) -> None:
    with forking_shell() as first, forking_shell() as second, forking_shell():
        pids = [first, second]
        chosen = [word for pid in pids for word in ("--pid", str(pid))]
        trace = Forktrace(tmp_path, "trace", "--json", *chosen)
        try:
            wait_until(lambda: {fork["pid"] for fork in trace.forks()} == set(pids))
            assert trace.stop() == 0
        finally:
            trace.kill()
    assert {fork["pid"] for fork in trace.forks()} == set(pids)


def test_more_than_can_be_asked_for_is_refused() -> None:
    chosen = [word for number in range(17) for word in ("--comm", f"name{number}")]
    answer = run_forktrace("trace", *chosen)
    assert answer.returncode == 2
    assert "At most 16 can be given." in answer.stderr
