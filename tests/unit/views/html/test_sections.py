"""The sections tell how to read what they show."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.html.sections import sections
from tests.unit.views.html.parts import Parts


def test_of_many_forks_some_are_drawn_and_it_says_so(many: Study) -> None:
    said = Parts(sections(many)).text
    assert "Of the 500 forks, the 10 longest are drawn one by one" in said


def test_what_is_not_there_is_not_explained(study: Study, many: Study) -> None:
    assert "Hatched: these VMAs have an anon_vma too" in sections(study)
    assert "Hatched" not in sections(many)
    assert "in the 1 fork whose VMAs were kept" in sections(study)
    assert "VMAs were not recorded" in sections(many)
