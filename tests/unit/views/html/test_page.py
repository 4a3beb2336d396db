"""The page: it loads nothing, no name gets out of its place, and a browser agrees."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from forktrace.model import Fork
from forktrace.model import Parts as ForkParts
from forktrace.report.study import Study
from forktrace.views.html.page import page
from tests.unit.recording.samples import MS, fork
from tests.unit.views.html.browser import BROWSER, browse
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import study_of


def test_it_answers_before_it_shows(study: Study) -> None:
    parts = Parts(page(study))
    said = parts.text
    assert "In 60 s, 42 forks took" in said
    assert said.index("In 60 s") < said.index("When forks happened")
    assert set(parts.plots) == {"timeline", "lengths", "triggers", "icicle"}
    for name in parts.plots:
        assert ("div", name) in [(tag, attrs.get("id")) for tag, attrs in parts.tags]


def test_it_tells_where_the_time_went_and_what_failed(tmp_path: Path) -> None:
    waited = replace(fork(0, 10 * MS), parts=ForkParts(0, 8 * MS, MS, MS, 0))
    refused = replace(fork(1, comm="<sh>"), outcome="failed", errno="EAGAIN")
    said = Parts(page(study_of(tmp_path, [waited, refused]))).text
    for told in (
        "waiting for the parent's mmap_lock",
        "80.0%",
        "Forks that failed",
        "EAGAIN",
        "<sh>",
    ):
        assert told in said
    quiet = Parts(page(study_of(tmp_path, [fork(0)]))).text
    assert "Where the time went" not in quiet
    assert "Forks that failed" not in quiet


def test_it_tells_pinned_pages(tmp_path: Path) -> None:
    pinned = replace(fork(0), pinned_bytes=3 << 20)
    said = Parts(page(study_of(tmp_path, [pinned]))).text
    assert "of pinned pages copied" in said
    assert "(and 3 MiB of pinned pages)" in said
    assert "pinned" not in Parts(page(study_of(tmp_path, [fork(0)]))).text


def test_it_loads_nothing_and_forbids_itself_to(study: Study) -> None:
    parts = Parts(page(study))
    for tag, attributes in parts.tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "data:,") == "data:,", tag
    policy = [a["content"] for t, a in parts.tags if a.get("http-equiv")]
    assert policy
    assert str(policy[0]).startswith("default-src 'none'")


def test_no_name_gets_out_of_its_place(study: Study, evil: Study) -> None:
    html = page(evil)
    parts = Parts(html)
    known = {tag for tag, _ in Parts(page(study)).tags}
    assert {tag for tag, _ in parts.tags} <= known
    assert not any(key.startswith("on") for _, attrs in parts.tags for key in attrs)
    assert len(parts.scripts) == 3
    # The names are there all the same, as text.
    assert "<img src=x onerror=alert(1)>" in parts.text
    html.encode()


def test_it_is_the_same_every_time(many: Study) -> None:
    assert page(many) == page(many)


@pytest.mark.parametrize("forks", [[], [replace(fork(0, MS, copy_ns=0), triggers=())]])
def test_little_to_show_is_shown_all_the_same(
    tmp_path: Path, forks: list[Fork]
) -> None:
    parts = Parts(page(study_of(tmp_path, forks)))
    assert "In 60 s" in parts.text
    assert "icicle" not in parts.plots


def test_plotly_is_inside_compressed(study: Study) -> None:
    html = page(study)
    packed = base64.b64decode(Parts(html).scripts[0])
    assert gzip.decompress(packed).decode() == get_plotlyjs()
    assert len(html) < len(get_plotlyjs()) / 2


def test_without_a_fork_there_is_nothing_to_draw_with(tmp_path: Path) -> None:
    html = page(study_of(tmp_path, []))
    assert "<script" not in html
    assert len(html) < 20_000


def test_where_no_plot_can_be_drawn_it_says_what_would_draw_it(study: Study) -> None:
    parts = Parts(page(study))
    assert parts.text.count("Chrome 80, Edge 80, Firefox 113, Safari 16.4") == 4


@pytest.mark.skipif(not BROWSER, reason="chromium is not installed")
@pytest.mark.parametrize(("kind", "theme"), [("evil", "light"), ("crowd", "dark")])
def test_a_browser_draws_it_without_complaint(
    tmp_path: Path, theme: str, kind: str, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(request.getfixturevalue(kind)), encoding="utf-8")
    document, complaints = browse(path, tmp_path, theme)
    assert complaints == []
    assert f'data-drawn="{theme}"' in document
    drawn = [
        attributes.get("id")
        for _, attributes in Parts(document).tags
        if "js-plotly-plot" in (attributes.get("class") or "")
    ]
    assert sorted(map(str, drawn)) == ["icicle", "lengths", "timeline", "triggers"]
