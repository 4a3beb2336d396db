"""packaging/doc/JSON.md has every key that is printed or recorded, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forktrace.activity import Activity
from forktrace.diagnosis import Diagnosis
from forktrace.explain import pasted
from forktrace.explain.refusals import Refusal
from forktrace.kernel.host import check_host
from forktrace.kernel.running import RunningKernel
from forktrace.model import Parts, ProcessCost, TriggerCost
from forktrace.report.command import compare, read
from forktrace.tracing import SHOW_JSON
from forktrace.views import tables
from tests.unit.exporter import samples
from tests.unit.recording.samples import (
    COW,
    DETAILED,
    EXEC,
    HEADER,
    MAPPINGS,
    PROGRESS,
    STACK,
    SUMMARY,
    VFORK,
    fork,
    write,
)
from tests.unit.selftest import test_judge
from tests.unit.views import test_explain

CSV = {
    "forks": tables.FORKS,
    "vforks": tables.VFORKS,
    **{name: heads for name, (heads, _) in tables.SUMS.items() if name != "cgroups"},
}
DOCUMENT = Path(__file__).parents[3] / "packaging/doc/JSON.md"
PASTED = Path(__file__).parents[1] / "explain/smaps/jvm_thp_cut.txt"
Record = Mapping[str, Any]

SHAPES = {
    "parts": "Parts",
    "vmas": "VMA counts",
    "triggers": "Trigger",
    "details": "VMA",
    "exec_discards": "Exec discards",
    "failures": "Failure",
    "recording": "Recording header",
    "host_totals": "Host totals",
    "costliest": "Fork",
    "stack": "Stack",
    "cow": "Cow group",
    "cow_mappings": "Cow share",
    "mappings": "Cow mapping",
    "parents": "Copy-on-write",
    "child": "Copy-on-write",
    "frames": "Frame",
    "callers": "Caller",
    "called": "Caller",
    "longest_vforks": "Vfork",
}
"""What an object or a list of objects under a key is, where it is called by its key."""


def documented() -> dict[str, set[str]]:
    """Return the keys of each object that the document has."""
    sections = re.split(r"^## (.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    return {
        name: set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))
        for name, body in zip(sections[::2], sections[1::2])
    }


def shapes(name: str, record: Record) -> Iterator[tuple[str, Record]]:
    """Yield an object and those within it, each with what it is called."""
    yield name, record
    if name in ("Explain", "Explain all", "Top") or name.startswith("Table of"):
        return  # what they hold is called otherwise, or has keys left out
    for key, value in record.items():
        inner = value if isinstance(value, list) else [value]
        if key in SHAPES and all(isinstance(each, dict) for each in inner):
            for each in inner:
                yield from shapes(SHAPES[key], each)


def printed(
    capsys: pytest.CaptureFixture[str], show: Callable[..., object], *what: Any
) -> Record:
    show(*what)
    record: Record = json.loads(capsys.readouterr().out)
    return record


@pytest.fixture
def objects(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> list[tuple[str, Record]]:
    """Return one of each that stands alone, and of each that is called by no key."""
    detailed = replace(DETAILED, parts=Parts(1, 2, 3, 4, 5), stack=STACK)
    failed = replace(fork(1), outcome="failed", errno="ENOMEM")
    study = read(
        write(tmp_path / "r", [detailed, failed], execs=[EXEC, VFORK, COW])
    ).to_json()
    for group in (*study["processes"], *study["cgroups"]):
        group.pop("comm", group.pop("cgroup", None))
    for costliest in study["costliest"]:
        del costliest["names"]
    both = partial(compare, as_json=True, html=None)
    activity = Activity(samples.totals(), 0.0)
    costs = (
        ProcessCost("sh", 1, 2, 3, triggers=(TriggerCost("pfnmap", True, 1, 2, 3),)),
    )
    top = activity.take(samples.full_totals(costs), 1.0).to_json()
    refusal = Refusal("EAGAIN", "so", "do")
    answer = replace(test_explain.compared(), refusals=(refusal,)).to_json()
    ranked = test_explain.ranked().to_json()
    smaps = pasted.answer(str(PASTED), None, None).to_json()
    kernel = RunningKernel.read(None)
    selftest = test_judge.report(test_judge.found()).to_json()
    return [
        ("Fork", printed(capsys, SHOW_JSON.fork, detailed, {})),
        ("Exec", printed(capsys, SHOW_JSON.discard, EXEC)),
        ("Vfork", printed(capsys, SHOW_JSON.vfork, VFORK)),
        ("Cow", printed(capsys, SHOW_JSON.cow, COW)),
        ("End", printed(capsys, SHOW_JSON.end, samples.totals())),
        ("Top", top),
        ("Top process", top["processes"][0]),
        ("Recording header", HEADER.to_json()),
        ("Mappings", MAPPINGS.to_json()),
        ("Progress", PROGRESS.to_json()),
        ("Summary", SUMMARY.to_json()),
        ("Report", study),
        ("Comparison", printed(capsys, both, tmp_path / "r", tmp_path / "r")),
        ("Report group", study["processes"][0]),
        ("Explain", answer),
        ("Explain", smaps),
        ("Paste", smaps["paste"]),
        ("Advice", answer["advice"][0]),
        ("Forecast", answer["details"][0]),
        ("Explain all", ranked),
        ("Doctor", Diagnosis(kernel, check_host(), (), ()).to_json()),
        ("Selftest", selftest),
        ("Selftest kind", selftest["kinds"][0]),
        *((f"Table of {name}", dict.fromkeys(heads)) for name, heads in CSV.items()),
    ]


def test_every_key_is_documented_and_no_other(
    objects: list[tuple[str, Record]],
) -> None:
    known, met = documented(), dict[str, set[str]]()
    for each in objects:
        for name, record in shapes(*each):
            assert record.keys() <= known[name], name
            met.setdefault(name, set()).update(record)
    assert met == known


def test_every_link_leads_to_a_section() -> None:
    anchors = {name.lower().replace(" ", "-") for name in documented()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT.read_text())) <= anchors
