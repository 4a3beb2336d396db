"""What dashboards meet seldom is explained where their people look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forktrace.tracer.compiler import bpf_folder
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
    program = (bpf_folder() / "forktrace.c").read_text()
    comms = re.search(r"^#define COMMS (\d+)", program, re.MULTILINE)
    assert comms
    assert f"{int(comms[1]):,} names" in " ".join((ROOT / name).read_text().split())
