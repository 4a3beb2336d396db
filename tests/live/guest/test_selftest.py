"""``forktrace selftest`` passes on this kernel, notices errors, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forktrace.kinds import KINDS
from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    keep,
    run_forktrace,
    wait_until,
)

WRONG = [sys.executable, "-m", "tests.live.guest.wrong_rule"]
WITNESS = (
    "return" if "vma_needs_copy" in Path("/proc/kallsyms").read_text() else "branch"
)
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
KPROBES = Path("/sys/kernel/debug/kprobes/list")

ALWAYS = {
    "anon": ("copy", "anon_vma"),
    "file_written": ("copy", "anon_vma"),
    "shmem": ("skip", None),
    "untouched": ("skip", None),
    "file_text": ("skip", None),
    "dontfork": ("dontcopy", None),
    "wipeonfork": ("wipeonfork", None),
}
"""What every kernel does with the kinds that every kernel can make."""


def traces() -> dict[str, Any]:
    """Return what a selftest could leave behind."""
    return {
        "probes": [line for line in KPROBES.read_text().splitlines() if line],
        "huge pages": HUGEPAGES.read_text(),
        "processes": sorted(
            name for name in os.listdir("/proc") if name.isdigit() and _is_ours(name)
        ),
        "files": sorted([*os.listdir("/tmp"), *os.listdir("/run")]),
    }


def _is_ours(pid: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"selftest" in command


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Run it once with fentry where there is, and see that it cleaned up."""
    before = traces()
    answer = run_forktrace("selftest", "--json", timeout=PATIENCE)
    assert answer.returncode == 0, answer
    assert "Tracing forks on" in answer.stderr
    assert traces() == before
    keep("selftest.json", answer.stdout)
    record: dict[str, Any] = json.loads(answer.stdout)
    return record


def test_every_kind_is_right_or_skipped_with_a_reason(told: dict[str, Any]) -> None:
    assert told["schema"] == 1
    assert told["passed"]
    assert told["problems"] == []
    by_kind = {each["kind"]: each for each in told["kinds"]}
    assert by_kind.keys() == {kind.name for kind in KINDS}
    for each in by_kind.values():
        assert each["verdict"] == "ok" or (
            each["verdict"] == "skipped" and each["reason"]
        ), each
    assert {
        name: (by_kind[name]["decision"], by_kind[name]["trigger"]) for name in ALWAYS
    } == ALWAYS


def test_every_decision_was_witnessed(told: dict[str, Any]) -> None:
    met = {
        each["source"]
        for each in told["kinds"]
        if each.get("decision") in ("copy", "skip")
    }
    assert met == {WITNESS}
    assert told["witnessed"] > told["forks"] * len(told["kinds"])
    assert told["disagreements"] == 0


def test_the_childs_page_tables_were_looked_at(told: dict[str, Any]) -> None:
    tables = {each["kind"]: each.get("page_tables") for each in told["kinds"]}
    assert tables["anon"] == {"parent": 16, "child": 16}
    assert tables["shmem"] == {"parent": 16, "child": 0}
    assert tables["untouched"] is None


@pytest.mark.thorough
def test_a_person_reads_a_table_and_the_verdict() -> None:
    answer = run_forktrace("selftest", "--attach", "kprobe", timeout=PATIENCE)
    assert answer.returncode == 0, answer
    *table, verdict = answer.stdout.splitlines()
    named = {line.split()[0] for line in table if line}
    assert {kind.name for kind in KINDS} <= named
    assert verdict.startswith("selftest passed: ")
    assert f"VMAs witnessed by {WITNESS}, 0 disagreements" in verdict


@pytest.mark.thorough
def test_a_wrong_rule_fails() -> None:
    before = traces()
    answer = subprocess.run(
        [*WRONG, "selftest"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 1, answer
    assert "The kernel copied a VMA where its rule says skip" in answer.stdout
    assert "FAIL vvar: recorded copy by unknown" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("selftest FAILED: ")
    assert "Traceback" not in answer.stderr
    assert traces() == before


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_halfway_it_leaves_nothing_behind(number: signal.Signals) -> None:
    before = traces()
    process = subprocess.Popen(
        [*FORKTRACE, "selftest"], stderr=subprocess.PIPE, text=True
    )
    try:
        # Huge pages are taken in the middle of making the VMAs.
        wait_until(lambda: HUGEPAGES.read_text() != before["huge pages"])
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(PATIENCE)
    wait_until(lambda: traces() == before)
    if number != signal.SIGKILL:
        assert process.returncode == 1
        assert f"Interrupted by {number.name}" in errors
        assert "Traceback" not in errors
