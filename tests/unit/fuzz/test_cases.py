"""What once went wrong under the fuzzer, and what it begins with, goes well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.target import CASES
from tests.fuzz.targets import TARGETS

KEPT = [path for target in TARGETS.values() for path in target.cases]


@pytest.mark.parametrize(
    "path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_a_kept_case_is_taken_or_refused_in_words(path: Path) -> None:
    TARGETS[path.parent.name].try_one(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_taken(name: str) -> None:
    """Else the fuzzer would only ever see how the first bytes are refused."""
    target = TARGETS[name]
    # Of the kernels' codes a few: test_decode decodes each of them.
    for seed in target.seeds()[:: 9 if name == "code" else 1]:
        target.feed(seed)


def test_every_kept_case_has_a_target() -> None:
    assert {path.name for path in CASES.iterdir()} <= set(TARGETS)
