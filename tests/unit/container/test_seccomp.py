"""Which system calls a profile allows, by capabilities and architecture."""

from __future__ import annotations

from typing import Any

import pytest

from tests.container import seccomp

ADMIN = ["CAP_SYS_ADMIN"]


def profile(**conditions: Any) -> dict[str, Any]:
    entry = {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "args": None, **conditions}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [
            {"architecture": f"SCMP_ARCH_{name}", "subArchitectures": [f"older {name}"]}
            for name in ("X86_64", "S390X", "AARCH64")
        ],
        "syscalls": [entry],
    }


def allowed(*capabilities: str, **conditions: Any) -> bool:
    return bool(seccomp.rules(profile(**conditions), capabilities, "amd64")["syscalls"])


def test_what_is_not_named_is_refused() -> None:
    made = seccomp.rules(profile(), (), "amd64")
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["defaultErrnoRet"] == 38


def test_only_programs_of_this_architecture_or_its_older_ones_run() -> None:
    made = seccomp.rules(profile(), (), "arm64")
    assert made["architectures"] == ["SCMP_ARCH_AARCH64", "older AARCH64"]


def test_an_entry_keeps_its_names_and_says_nothing_of_its_conditions() -> None:
    made = seccomp.rules(profile(includes={}, excludes={}), (), "amd64")
    assert made["syscalls"] == [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW"}]


def test_some_are_for_those_with_a_capability() -> None:
    assert allowed(*ADMIN, includes={"caps": ADMIN})
    assert not allowed(includes={"caps": ADMIN})


def test_some_are_for_those_without_it() -> None:
    assert allowed(excludes={"caps": ADMIN})
    assert not allowed(*ADMIN, excludes={"caps": ADMIN})


def test_some_are_for_an_architecture() -> None:
    assert allowed(includes={"arches": ["amd64", "x32"]})
    assert not allowed(includes={"arches": ["arm64"]})
    assert not allowed(excludes={"arches": ["amd64"]})


def test_a_condition_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="maxKernel"):
        allowed(includes={"maxKernel": "7.0"})
