"""What explain foretells is what the next fork of that process then does.

Real programs have a guest of their own: tests/live/test_programs.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.investigations.explained import compare, explain
from tests.live.guest.programs import Forktrace, Workload, wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forktrace]:
    folder = tmp_path_factory.mktemp("explain")
    tracing = Forktrace(folder, "trace", "--json", "--vmas")
    try:
        yield tracing
        assert tracing.stop() == 0
    finally:
        tracing.kill()


def assert_foretold(answer: dict[str, Any], fork: dict[str, Any]) -> None:
    """Only VMAs that explain itself calls doubtful may turn out otherwise."""
    compared = compare(answer, fork)
    assert [each for each in compared.surprises if not each.doubted] == []
    assert compared.apart <= 0.1
    assert answer["rule"]["read_from"] == "code"


KINDS = ("anon", "maybe_guard", "shmem", "hugetlb_private", "io_uring", "dontfork")


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_with_one_large_mapping(trace: Forktrace, kind: str) -> None:
    workload = Workload("large", "--kind", kind, "--mib", "64")
    try:
        if not workload.ready["mappings"]:
            pytest.skip(f"{workload.ready['skipped']}")
        # The first fork gives the process its last page tables.
        workload.ask("go")
        answer = explain(workload.pid)
        seen = len(forks_of(trace, workload.pid))
        workload.ask("go")
        wait_until(lambda: len(forks_of(trace, workload.pid)) > seen)
        fork = forks_of(trace, workload.pid)[seen]
    finally:
        workload.close()
    assert_foretold(answer, fork)


def forks_of(trace: Forktrace, pid: int) -> list[dict[str, Any]]:
    return [fork for fork in trace.forks() if fork["pid"] == pid]
