"""The timeline: every fork, whether as a point or in a count."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.plots import timeline_plot


def test_few_forks_are_all_points(study: Study) -> None:
    points = timeline_plot(study).to_json()["data"]
    assert {each["type"] for each in points} == {"scatter"}
    for by in ("trigger", "process"):
        assert sum(len(each["x"]) for each in points if each["meta"] == by) == 42


def test_many_forks_are_counted_and_the_longest_are_points(many: Study) -> None:
    heat, *points = timeline_plot(many).to_json()["data"]
    assert heat["type"] == "heatmap"
    counted = sum(count for row in heat["customdata"] for count in row)
    assert counted == 500
    for by in ("trigger", "process"):
        assert sum(len(each["x"]) for each in points if each["meta"] == by) == 10
