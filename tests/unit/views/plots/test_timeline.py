"""The timeline: every fork, whether as a point or in a count."""

from __future__ import annotations

from datetime import datetime, timedelta

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


def test_the_axis_is_a_clock_over_all_that_was_recorded(
    study: Study, many: Study
) -> None:
    drawn = timeline_plot(study).to_json()
    axis = drawn["layout"]["xaxis"]
    assert axis["title"]["text"] == "time (UTC)"
    begin, end = map(datetime.fromisoformat, axis["range"])
    began = datetime(2026, 11, 24, 12)
    assert begin < began < end
    assert end - begin == 1.04 * timedelta(seconds=60)
    times = [datetime.fromisoformat(x) for each in drawn["data"] for x in each["x"]]
    assert min(times) == began
    assert max(times) == began + timedelta(seconds=4.1)
    heat = timeline_plot(many).to_json()["data"][0]
    half = timedelta(milliseconds=heat["dx"] / 2)
    assert datetime.fromisoformat(heat["x0"]) == began + half
