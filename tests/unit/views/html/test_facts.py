"""The facts about a recording: where, when and how."""

from __future__ import annotations

from dataclasses import replace

from forktrace.report.study import Study
from forktrace.views.html.facts import facts
from tests.unit.views.html.parts import Parts


def test_they_say_where_when_and_how(study: Study) -> None:
    said = Parts(facts(study)).text
    assert "7.3.4, x86_64" in said
    assert "copy if dst has MAYBE_GUARD (read from code)" in said
    assert "60 s; it was stopped by hand" in said
    assert "fentry probes, decisions from branch" in said


def test_what_tracing_took_is_said_where_it_was_measured(study: Study) -> None:
    assert "tracing took" in facts(study)
    assert "tracing took" not in facts(replace(study, host=None))
