"""What a person reads at the end of ``make bench``."""

from __future__ import annotations

from tests.bench import report
from tests.bench.figures import FLOORS, TRACERS, WITH_OPTIONS, checks
from tests.unit.bench.samples import ADDED_A_VMA, sample


def text(added: dict[str, int] = ADDED_A_VMA) -> list[str]:
    results = sample(added)
    return list(report.lines(results, checks(results)))


def test_every_line_fits_a_terminal() -> None:
    assert max(len(line) for line in text()) <= 80


def test_a_tracers_line_says_what_it_adds_to_a_vma() -> None:
    for name in (*TRACERS, *WITH_OPTIONS, *FLOORS):
        (line,) = [line for line in text() if line.startswith(name) and "%" in line][:1]
        assert f"{ADDED_A_VMA[name]:,}" in line.split()


def test_the_ratio_is_that_of_the_two_tools() -> None:
    (line,) = [line for line in text() if line.startswith("ratio, fentry")]
    assert "1/4.0" in line.split()


def test_a_broken_budget_is_marked() -> None:
    assert not any("BROKEN" in line for line in text())
    marked = [
        line
        for line in text({**ADDED_A_VMA, "forktrace fentry": 700})
        if "BROKEN" in line
    ]
    assert [line.split(":")[0] for line in marked] == ["fentry", "fentry"]


def test_a_write_after_a_fork_is_told_with_and_without_following_it() -> None:
    told = "A write fault after a fork takes 4,000; forktrace --cow adds 300."
    assert told in text()
