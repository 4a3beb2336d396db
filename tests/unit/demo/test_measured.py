"""What the demo calls right and wrong, and that nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.demo.measured import Measured
from tests.unit.demo.samples import METRICS, fork, measured


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    measured().write(tmp_path)
    assert Measured.read(tmp_path) == measured()


def test_nothing_is_wrong_when_forktrace_and_redis_agree() -> None:
    assert measured().problems() == []


def test_forks_are_matched_by_child_whatever_their_order() -> None:
    forks = (fork(102, copy_ns=2), fork(7, copy_ns=7), fork(101, copy_ns=1))
    pairs = [(f["copy_ns"], saved.child_pid) for f, saved in measured(*forks).pairs()]
    assert pairs == [(1, 101), (2, 102)]


@pytest.mark.parametrize(
    ("different", "problem"),
    [
        ({"outcome": "failed"}, "The fork of 102 is recorded as failed."),
        ({"copy_ns": 50_000_001}, "The fork of 102 copied for longer than it took."),
        ({"duration_ns": 70_000_000}, "forktrace and Redis are 40% apart."),
        ({"child_pid": 9}, "1 of 2 BGSAVEs have no fork record."),
    ],
)
def test_a_record_that_cannot_be_right_is_named(
    different: dict[str, Any], problem: str
) -> None:
    (found,) = measured(fork(101), {**fork(102), **different}).problems()
    assert problem in found


@pytest.mark.parametrize("duration_ns", [37_500_000, 62_500_000])
def test_a_quarter_apart_is_still_agreement(duration_ns: int) -> None:
    quick = fork(102, duration_ns=duration_ns, copy_ns=1)
    assert not measured(fork(101), quick).problems()


@pytest.mark.parametrize("metrics", ["", METRICS.replace(" 2.0", " 3.0", 1)])
def test_metrics_that_count_other_than_redis_are_named(metrics: str) -> None:
    (found,) = measured(metrics=metrics).problems()
    assert "forks by redis-server, there were 2." in found
