"""The icicle: what plotly takes, and mappings by names that people know."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.plots import icicle_plot


def test_parts_never_exceed_the_whole(study: Study) -> None:
    (tree,) = icicle_plot(study).to_json()["data"]
    whole = dict(zip(tree["ids"], tree["values"]))
    sums: dict[str, int] = {}
    for parent, value in zip(tree["parents"], tree["values"]):
        sums[parent] = sums.get(parent, 0) + value
    del sums[""]
    assert sums
    assert all(total <= whole[parent] for parent, total in sums.items())
    assert "[heap]" in tree["labels"]
    assert "anonymous memory" in tree["labels"]
