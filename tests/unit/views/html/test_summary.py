"""The summary says what is missing before anything is shown."""

from __future__ import annotations

from dataclasses import replace

from forktrace.report.study import CUT_OFF, Study
from forktrace.views.html.summary import summary
from tests.unit.views.html.parts import Parts


def test_what_is_missing_is_said(study: Study) -> None:
    torn = replace(study, ended=CUT_OFF, unwritten=1234, lost={"fork_event": 5})
    said = Parts(summary(torn, "Forks on lab")).text
    assert "was cut off; its last second may be missing." in said
    assert "1,234 forks no longer fitted into the file." in said
    assert "lost: 5 at fork_event." in said


def test_failures_have_a_number_of_their_own(study: Study) -> None:
    assert "forks failed" not in summary(study, "")
    assert "<b>7</b><span>forks failed" in summary(replace(study, failed=7), "")
