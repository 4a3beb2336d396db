"""The decoder reads the rule out of what the compilers of this machine make of it.

``python -m tests.compilers`` holds it against all decisions in all builds.
"""

from __future__ import annotations

import pytest

from tests.compilers import styles, twists
from tests.compilers.compilers import Build, builds, compilers
from tests.compilers.verdict import judge

_WAYS = ("plain", "ibt", "stack guard", "kasan inline", "kasan calls", "kcov")
_BUILDS = [
    build for each in compilers() for build in builds(each) if build.way in _WAYS
]
# Masks of lists may come to lie in tables, outside of the code that is read.
_RULE_OF_7_3 = [
    shape
    for shape in styles.shapes()
    if shape.kernels
    and shape.name.startswith("7.3 ")
    and shape.name.endswith(" call")
    and "made_mask" not in shape.name
]
_WRONG_ONCE = (
    *("error after: long5", "error: no jump", "after: no jump three", "cmpxchg after"),
    *("and not: intbit", "anon and not: two own", "bit and not: three", "twice: int "),
    *("no jump: arithmetic", "kept: two", "anon not rare no jump", "returns flags"),
)
_TWISTED = [shape for shape in twists.shapes() if shape.name.startswith(_WRONG_ONCE)]


@pytest.mark.parametrize("build", _BUILDS, ids=str)
class TestCompilers:
    def test_the_rule_of_7_3_is_right_however_it_is_built(self, build: Build) -> None:
        for verdict in judge(build, _RULE_OF_7_3):
            assert not verdict.wrong, verdict.shape.name
            assert not verdict.refused, verdict.shape.name

    def test_what_decides_by_more_is_never_taken_for_a_rule(self, build: Build) -> None:
        for verdict in judge(build, _TWISTED):
            assert not verdict.wrong, verdict.shape.name
