"""The lengths of forks: each is counted once, and quantiles are marked."""

from __future__ import annotations

from pathlib import Path

from forktrace.report.study import Study
from forktrace.views.plots import length_plot
from tests.unit.recording.samples import DETAILED
from tests.unit.views.samples import study_of


def test_every_fork_is_counted_once(study: Study) -> None:
    bars, copied = length_plot(study).to_json()["data"]
    assert sum(bars["y"]) == 42
    assert sum(copied["y"]) == 42


def test_quantiles_are_marked(study: Study) -> None:
    marks = length_plot(study).to_json()["layout"]["annotations"]
    assert [mark["text"].split()[0] for mark in marks] == ["p50", "p90", "p99"]


def test_one_fork_has_ticks_around_it_and_no_half_of_it(tmp_path: Path) -> None:
    layout = length_plot(study_of(tmp_path, [DETAILED])).to_json()["layout"]
    low, high = layout["xaxis"]["range"]
    shown = [t for t in layout["xaxis"]["tickvals"] if low <= t <= high]
    assert len(shown) >= 2
    assert layout["yaxis"]["dtick"] == 1


def test_labels_of_quantiles_stand_above_the_bars(study: Study) -> None:
    drawn = length_plot(study).to_json()
    bottom = min(mark["y"] for mark in drawn["layout"]["annotations"]) - 0.08
    most = max(max(each["y"]) for each in drawn["data"])
    assert most <= bottom * drawn["layout"]["yaxis"]["range"][1]
