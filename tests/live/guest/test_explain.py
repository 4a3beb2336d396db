"""What explain foretells is what the next fork of that process then does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo.redis import Redis
from tests.live.guest.programs import FORKTRACE, Forktrace, Workload, wait_until

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


def explain(pid: int) -> dict[str, Any]:
    command = [*FORKTRACE, "explain", str(pid), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def copied(details: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {
        (vma["start"], vma["trigger"]) for vma in details if vma["decision"] == "copy"
    }


def assert_foretold(answer: dict[str, Any], fork: dict[str, Any]) -> None:
    """Only VMAs that explain itself calls doubtful may turn out otherwise."""
    doubtful = {vma["start"] for vma in answer["details"] if vma["doubt"]}
    wrong = copied(answer["details"]) ^ copied(fork["details"])
    assert {start for start, _ in wrong} <= doubtful, wrong
    assert answer["rule"]["read_from"] == "code"
    surprise = sum(
        vma["page_table_bytes"]
        for vma in fork["details"]
        if (vma["start"], vma["trigger"]) in wrong
    )
    measured = fork["page_table_bytes"] - surprise
    assert answer["page_table_bytes"] == pytest.approx(measured, rel=0.1)


KINDS = ("anon", "maybe_guard", "shmem", "hugetlb_private", "io_uring", "dontcopy")


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
        wait_until(lambda: len(forks_of(trace, workload.pid)) > seen, 30)
        fork = forks_of(trace, workload.pid)[seen]
    finally:
        workload.close()
    assert_foretold(answer, fork)


def forks_of(trace: Forktrace, pid: int) -> list[dict[str, Any]]:
    return [fork for fork in trace.forks() if fork["pid"] == pid]


def test_redis(trace: Forktrace, tmp_path: Path) -> None:
    with Redis(tmp_path) as redis:
        redis.fill(500, 100_000)
        answer = explain(redis.pid)
        redis.save()
        wait_until(lambda: bool(forks_of(trace, redis.pid)), 30)
        assert_foretold(answer, forks_of(trace, redis.pid)[0])
    assert answer["advice"]
