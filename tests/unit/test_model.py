"""The published JSON: what is read back is what was written, nonsense is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from forktrace.model import Exec, ExecDiscards, Fork, Histogram, Vma, VmaCounts
from tests.unit.recording import strategies
from tests.unit.recording.samples import vma

FORK = Fork(1, 2, 2, "sh", 3, "/", "ok", None, 4, 5, 6, VmaCounts(7), ()).to_json()

NOT_IN_0_1 = ("thread", "parts", "run_delay_ns", "pinned_bytes")


def through_text(record: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(record))
    return read


@given(strategies.forks)
def test_a_fork_comes_back_from_json(fork: Fork) -> None:
    assert Fork.from_json(through_text(fork.to_json())) == fork


def test_what_an_older_forktrace_wrote_is_still_read() -> None:
    older = {name: value for name, value in FORK.items() if name not in NOT_IN_0_1}
    assert Fork.from_json(older) == Fork.from_json(FORK)


@given(strategies.execs)
def test_an_exec_comes_back_from_json(discard: Exec) -> None:
    assert Exec.from_json(through_text(discard.to_json())) == discard


def test_a_histogram_with_fewer_buckets_counts_the_same() -> None:
    fine = Histogram((1, 2, 5, 10, 20, 50), (1, 2, 4, 8, 16, 32, 64), 999)
    assert fine.coarser((2, 10)) == Histogram((2, 10), (3, 12, 112), 999)


def test_discards_come_back_from_json() -> None:
    assert ExecDiscards.from_json(ExecDiscards(1, 2, 3).to_json()) == ExecDiscards(
        1, 2, 3
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": "42"},
        {"pid": True},
        {"duration_ns": -1},
        {"duration_ns": 1 << 64},
        {"copy_ns": 1.5},
        {"comm": None},
        {"time": "yesterday"},
        {"time": "2026-11-24T12:00:00Z"},
        {"time": "2026-11-24T12:00:00.123456789+01:00"},
        {"time": "2026-11-24T12:00:00.12345678xZ"},
        {"time": "1969-11-24T12:00:00.123456789Z"},
        {"time": ""},
        {"vmas": 5},
        {"triggers": [5]},
        {"details": [{}]},
        {"parts": {"setup_ns": 1}},
        {"thread": 5},
    ],
    ids=str,
)
def test_what_no_fork_could_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Fork.from_json({**FORK, **wrong})


@pytest.mark.parametrize("key", ["start", "end", "src_flags", "dst_flags"])
@pytest.mark.parametrize("text", ["f" * 300, f"{1 << 64:x}", "-1", "0xyz", ""])
def test_what_no_vma_could_have_is_refused(key: str, text: str) -> None:
    record = vma(0x1000, "anon_vma", 1).to_json()
    assert Vma.from_json({**record, key: f"{(1 << 64) - 1:#x}"})
    with pytest.raises(ValueError, match=f"^{key} is no|invalid literal"):
        Vma.from_json({**record, key: text})


@pytest.mark.parametrize("key", sorted(FORK.keys() - {"schema", *NOT_IN_0_1}))
def test_what_is_missing_is_noticed(key: str) -> None:
    with pytest.raises(KeyError):
        Fork.from_json({name: value for name, value in FORK.items() if name != key})
