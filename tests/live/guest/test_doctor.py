"""``forktrace doctor`` tells this kernel's own rule and what can be used here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.expected import NAMES, rule_of
from tests.live.guest.programs import keep, run_forktrace

RELEASE = os.uname().release


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    answer = run_forktrace("doctor", "--json")
    assert answer.returncode == 0, answer
    keep("doctor.json", answer.stdout)
    record: dict[str, Any] = json.loads(answer.stdout)
    return record


def test_the_rule_is_read_from_the_kernels_code(told: dict[str, Any]) -> None:
    rule = rule_of(RELEASE)
    assert told["rule"] == {
        "mask": f"{sum(1 << bit for bit in rule):#x}",
        "bits": {NAMES[bit]: rule[bit] for bit in sorted(rule)},
        "read_from": "code",
    }
    assert told["kernel"] == RELEASE
    assert told["can_trace"]
    failed = [check["name"] for check in told["checks"] if not check["ok"]]
    # Linux 5.10 has no bpf_task_pt_regs() (5.15, commit dd6e10fbd9fb).
    assert failed == (["stacks"] if RELEASE.startswith("5.10.") else [])


def test_a_witness_and_both_ways_to_attach_are_there(told: dict[str, Any]) -> None:
    has_symbol = "vma_needs_copy" in Path("/proc/kallsyms").read_text()
    assert told["sources"] == ["return" if has_symbol else "branch", "rule"]
    assert told["attach"] == ["fentry", "kprobe"]


@pytest.mark.thorough
def test_a_person_reads_the_rule_in_words() -> None:
    answer = run_forktrace("doctor")
    assert "copy if " in answer.stdout
    assert "src has an anon_vma; read from code" in answer.stdout
