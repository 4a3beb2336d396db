"""The lengths of forks: each is counted once, and quantiles are marked."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.plots import length_plot


def test_every_fork_is_counted_once(study: Study) -> None:
    bars, copied = length_plot(study).to_json()["data"]
    assert sum(bars["y"]) == 42
    assert sum(copied["y"]) == 42


def test_quantiles_are_marked(study: Study) -> None:
    marks = length_plot(study).to_json()["layout"]["annotations"]
    assert [mark["text"].split()[0] for mark in marks] == ["p50", "p90", "p99"]
