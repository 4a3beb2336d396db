"""What dashboards meet seldom is explained where their people look."""

from __future__ import annotations

from pathlib import Path

import pytest

from forktrace.tracer.layout import Layout
from forktrace.tracer.maps import UNKNOWN

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("README.md", f"`{UNKNOWN}`"),
        ("dashboards/RUNBOOK.md", f"`{UNKNOWN}`"),
        ("packaging/man/forktrace.8", rf"\fI{UNKNOWN}\fP"),
    ],
)
def test_the_trigger_of_a_copy_that_was_not_foreseen(name: str, marked: str) -> None:
    assert marked in (ROOT / name).read_text()


@pytest.mark.parametrize("name", ["README.md", "packaging/man/forktrace.8"])
def test_how_many_names_the_kernel_side_holds(name: str) -> None:
    text = " ".join((ROOT / name).read_text().split())
    assert f"{Layout.costs:,} names" in text
