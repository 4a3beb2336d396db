"""The summary says what is missing before anything is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from forktrace.report.study import CUT_OFF, Study
from forktrace.views.html.page import page
from forktrace.views.html.summary import summary
from tests.unit.recording.samples import DETAILED
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import study_of


def test_what_is_missing_is_said(study: Study) -> None:
    torn = replace(study, ended=CUT_OFF, unwritten=1234, lost={"fork_event": 5})
    said = Parts(summary(torn, "Forks on lab")).text
    assert "was cut off; its last second may be missing." in said
    assert "1,234 forks no longer fitted into the file." in said
    assert "lost: 5 at fork_event." in said


def test_failures_have_a_number_of_their_own(study: Study) -> None:
    assert "forks failed" not in summary(study, "")
    assert "<b>7</b><span>forks failed" in summary(replace(study, failed=7), "")


def test_numbers_have_the_names_that_they_have_elsewhere(study: Study) -> None:
    said = summary(study, "")
    assert "<span>p50</span>" in said
    assert "<span>p99</span>" in said


def test_without_forks_there_is_nothing_to_measure(tmp_path: Path) -> None:
    said = summary(study_of(tmp_path, []), "")
    assert "<b>0</b><span>forks" in said
    assert "p50" not in said


def test_one_fork_is_no_forks(tmp_path: Path) -> None:
    one = study_of(tmp_path, [DETAILED])
    assert "<b>1</b><span>fork, 0.0167 a second" in summary(one, "")
    assert "1 forks" not in page(one)
