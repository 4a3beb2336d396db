"""The grid of time and length grows with the recording and loses nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forktrace.report.spread import place_of
from forktrace.report.timeline import COLUMNS, Timeline

times = st.integers(0, 10**9) | st.integers(0, 2**62)


@given(st.lists(st.tuples(times, st.integers(0, 2**40)), max_size=100))
def test_every_fork_is_in_its_cell_whatever_came_after(
    drawn: list[tuple[int, int]],
) -> None:
    timeline = Timeline()
    for since, duration in drawn:
        timeline.add(since, place_of(duration))
    cells = list(timeline.cells())
    assert sum(cell.forks for cell in cells) == len(drawn)
    assert all(cell.begin_ns < COLUMNS * timeline.step_ns for cell in cells)
    columns = {since // timeline.step_ns * timeline.step_ns for since, _ in drawn}
    assert {cell.begin_ns for cell in cells} == columns


def test_a_cell_tells_how_long_its_forks_took() -> None:
    timeline = Timeline()
    timeline.add(5_000_000, place_of(2_000_000))
    (cell,) = timeline.cells()
    assert cell.begin_ns == 5_000_000
    assert cell.low_ns <= 2_000_000 < cell.high_ns
