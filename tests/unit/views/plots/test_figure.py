"""What all plots share: names that plotly takes for no markup, and axes of lengths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from forktrace.report.study import Study
from forktrace.views.plots import (
    Plot,
    icicle_plot,
    length_plot,
    timeline_plot,
    trigger_plot,
)
from forktrace.views.plots.figure import length_axis, log_ns


def strings(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(
    "plot", [icicle_plot, length_plot, timeline_plot, trigger_plot]
)
def test_plotly_gets_no_markup_from_names(
    evil: Study, plot: Callable[[Study], Plot]
) -> None:
    ours = {"", "b", "br", "extra"}
    for text in strings(plot(evil).to_json()):
        tags = {tag.strip("/ ") for tag in re.findall(r"<([^>]*)>?", text)}
        assert tags <= ours, text


def test_an_axis_of_lengths_has_units() -> None:
    axis = length_axis([log_ns(1_000), log_ns(100_000)], "length")
    assert axis["ticktext"][:3] == ["1 µs", "3 µs", "10 µs"]
    assert length_axis([], "length")["tickvals"]
