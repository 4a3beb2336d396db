"""The bars of the triggers: the dearest first, hatched where anon_vma would do."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.plots import trigger_plot


def test_the_dearest_comes_first(study: Study) -> None:
    (bars,) = trigger_plot(study).to_json()["data"]
    assert bars["y"][0] == "anon_vma"
    assert bars["x"] == sorted(bars["x"], reverse=True)


def test_hatched_is_what_anon_vma_would_have_copied_too(study: Study) -> None:
    (bars,) = trigger_plot(study).to_json()["data"]
    hatched = dict(zip(bars["y"], bars["marker"]["pattern"]["shape"]))
    assert hatched == {
        "anon_vma": "",
        "maybe_guard": "",
        "uffd_wp<br>(and anon_vma)": "/",
    }
