"""The report a person sees fits a terminal and says what was measured."""

from __future__ import annotations

from tests.demo.report import next_steps, sections
from tests.unit.demo.samples import METRICS, fork, measured


def test_the_report_fits_a_terminal() -> None:
    shown = [*sections(measured()), next_steps("http://127.0.0.1:19435/metrics")]
    lines = [line for section in shown for line in (section.title, *section.lines)]
    assert max(map(len, lines)) <= 80
    assert len(lines) + len(shown) <= 31


def test_triggers_stand_with_their_cost() -> None:
    table = next(sections(measured())).lines
    assert [line.split() for line in table[1:]] == [
        ["anon_vma", "yes", "40", "80", "ms", "1", "MiB"],
        ["mixedmap", "no", "2", "4", "µs", "0", "B"],
    ]


def test_each_fork_stands_beside_what_redis_says() -> None:
    table = list(sections(measured(fork(101), fork(102, duration_ns=55_000_000))))[1]
    assert [" ".join(line.split()) for line in table.lines[1:]] == [
        "1 50 ms 40 ms 512 KiB 50 ms 0.0%",
        "2 55 ms 40 ms 512 KiB 50 ms 10.0%",
        "median 52.5 ms 40 ms 512 KiB 50 ms 5.0%",
        "max 55 ms 40 ms 512 KiB 50 ms 10.0%",
    ]


def test_other_programs_that_forked_are_named() -> None:
    metrics = METRICS.replace('comm="other"} 0.0', 'comm="sh"} 1.0')
    *_, verdict = sections(measured(metrics=metrics))
    assert verdict.lines[0].startswith(
        "  Forks in the metrics: 2 by redis-server, 1 by sh."
    )


def test_what_is_wrong_is_said_last_and_loudly() -> None:
    *_, verdict = sections(measured(fork(101)))
    assert verdict.title == "WRONG"
    assert verdict.lines[1:] == ("  1 of 2 BGSAVEs have no fork record.",)


def test_a_measurement_without_any_fork_can_be_shown() -> None:
    assert list(sections(measured(fork(9), metrics="")))
