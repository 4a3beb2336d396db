"""The command as a whole: what it prints about real processes, and its refusals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from forktrace.errors import ForktraceError, UsageError
from forktrace.explain.command import report
from forktrace.explain.processes import usual_price
from forktrace.kinds import EveryKind
from tests.patience import PATIENCE
from tests.unit.explain.forced import fork_cost, needs_ptrace

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        # exec is over when the name has changed.
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            pass
        yield process.pid
        process.kill()


def answer(capsys: Capture, *arguments: Any, **options: Any) -> dict[str, Any]:
    assert report(*arguments, as_json=True, **options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    return found


def test_the_json_adds_up(capsys: Capture, sleeper: int) -> None:
    found = answer(capsys, sleeper)
    assert (found["pid"], found["comm"]) == (sleeper, "sleep")
    details = found["details"]
    assert len(details) == sum(found["vmas"].values())
    copied = [each for each in details if each["decision"] == "copy"]
    assert len(copied) == found["vmas"]["copy"] > 0
    total = sum(each["page_table_bytes"] for each in copied)
    assert total == found["page_table_bytes"]
    assert sum(each["page_table_bytes"] for each in found["triggers"]) == total
    assert found["page_table_bytes"] <= found["own_page_table_bytes"]
    assert found["rule"]["read_from"] in ("code", "btf", "table")
    assert "compared" not in found


def test_the_gate_page_is_no_vma_of_the_process(capsys: Capture, sleeper: int) -> None:
    names = {each["name"] for each in answer(capsys, sleeper)["details"]}
    assert "[stack]" in names
    assert "[vsyscall]" not in names


@needs_ptrace
def test_the_same_fork_made_for_real_costs_as_much(
    capsys: Capture, sleeper: int
) -> None:
    assert answer(capsys, sleeper)["page_table_bytes"] == fork_cost(sleeper)


def test_another_rule_shows_what_changes(capsys: Capture) -> None:
    with EveryKind(["maybe_guard"]) as every:
        if every.skipped or "maybe_guard" not in every.mappings[0].src:
            pytest.skip("this kernel has no bit for guards")
        start = f"{every.mappings[0].start:#x}"
        found = answer(capsys, os.getpid(), rule="6.12")
        (change,) = found["compared"]["changes"]
        assert change["start"] == start
        assert change["here"]["trigger"] == "maybe_guard"
        assert change["there"]["decision"] == "skip"
        assert found["rule"]["release"] == "6.12"
        assert found["vmas"]["copy"] == found["compared"]["vmas"]["copy"] - 1


def test_a_person_gets_the_answer_first_in_80_columns(
    capsys: Capture, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for rule in (None, "5.15"):
        assert report(sleeper, rule=rule) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith(f"A fork of sleep ({sleeper})")
        assert max(map(len, said)) <= 80


def test_all_processes(capsys: Capture, sleeper: int) -> None:
    found = answer(capsys, all_processes=True, limit=100_000)
    costs = [
        usual_price(each["vmas"]["copy"], each["page_table_bytes"])
        for each in found["processes"]
    ]
    assert costs == sorted(costs, reverse=True)
    assert sleeper in [each["pid"] for each in found["processes"]]
    assert found["not_looked_at"] == 0
    assert report(all_processes=True, limit=3) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == [
        "PID",
        "COMM",
        "VMAS",
        "COPIED",
        "TABLES",
        "MOSTLY",
        "BY",
    ]
    assert max(map(len, said)) <= 80


def test_a_measured_cost_becomes_an_estimate(
    capsys: Capture, sleeper: int, tmp_path: Path
) -> None:
    path = tmp_path / "forks.json"
    cost = {"vmas": 10, "copy_ns": 10_000, "page_table_bytes": 0}
    path.write_text(json.dumps({"triggers": [cost]}))
    found = answer(capsys, sleeper, measured=str(path))
    assert found["measured"] == str(path)
    assert found["copy_ns"] == 1000 * found["vmas"]["copy"]


# -- refusals -----------------------------------------------------------------


def refused(*arguments: Any, **options: Any) -> ForktraceError:
    with pytest.raises(ForktraceError) as raised:
        report(*arguments, **options)
    assert "\n" not in raised.value.message
    return raised.value


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "abc",
        "7",
        "2.6.32",
        "5.3",
        "7.3; rm -rf",
        "-1.2",
        "7.3\n",
        "..",
        "\u0667.\u0663",
    ],
)
def test_a_rule_that_is_no_release(rule: str) -> None:
    error = refused(os.getpid(), rule=rule)
    assert error.exit_status == 2


@pytest.mark.parametrize("rule", ["5.4", "6.1.0-30-amd64", "6.19-rc3", "7.3.4+deb13"])
def test_releases_as_uname_writes_them(capsys: Capture, rule: str) -> None:
    assert answer(capsys, os.getpid(), rule=rule)["rule"]["release"] == rule


def test_one_process_or_all_but_not_both_or_none() -> None:
    for error in (refused(), refused(1, all_processes=True)):
        assert isinstance(error, UsageError)


def test_no_such_process() -> None:
    pid = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    error = refused(pid)
    assert (error.message, error.exit_status) == (f"There is no process {pid}.", 1)


def test_a_zombie() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        error = refused(child.pid)
    assert "it is a zombie" in error.message
    assert error.exit_status == 1


def test_a_kernel_thread() -> None:
    if Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip("kernel threads are not in this PID namespace")
    assert "it is a kernel thread" in refused(2).message


@pytest.mark.parametrize("words", ["1", "--all"])
def test_without_proc_it_is_told_what_to_mount(words: str) -> None:
    hide = 'mount -t tmpfs none /proc && exec "$@"'
    command = [sys.executable, "-m", "forktrace", "explain", words]
    made = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", hide, "sh", *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if "forktrace" not in made.stderr + made.stdout and made.returncode == 1:
        pytest.skip(f"no mount namespace of its own: {made.stderr}")
    assert made.stderr.startswith("forktrace: /proc is not mounted.\n")
    assert (made.returncode, made.stdout) == (3, "")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become someone else")
def test_a_process_of_someone_else() -> None:
    assert _as_nobody(lambda: "may not be read" in refused(1).message)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become someone else")
def test_without_root_ones_own_processes_can_be_explained() -> None:
    with subprocess.Popen(["sleep", "600"], user=65534, group=65534) as process:
        try:
            assert _as_nobody(lambda: report(process.pid) == 0)
        finally:
            process.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become someone else")
def test_without_root_the_ranking_says_what_others_cost_at_most() -> None:
    def holds() -> bool:
        told = io.StringIO()
        with redirect_stdout(told):
            report(all_processes=True)
        said = " ".join(told.getvalue().split())
        return "(permission denied): run as root. A fork of one allocates" in said

    assert _as_nobody(holds)


def _as_nobody(holds: Callable[[], bool]) -> bool:
    """Tell whether something holds for a user that is not root."""
    pid = os.fork()
    if pid == 0:
        held = False
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            held = holds()
        finally:
            os._exit(0 if held else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
