"""The page: it loads nothing, no name gets out of its place, and a browser agrees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from forktrace.model import Fork, TriggerCost
from forktrace.recording.records import Filters
from forktrace.report import aggregate
from forktrace.report.command import read
from forktrace.report.study import Study
from forktrace.views.html import page
from tests.unit.recording.samples import DETAILED, HEADER, MS, fork, write

EVIL = "</script><img src=x onerror=alert(1)>\"'\n\ud800"
BROWSER = shutil.which("chromium")


class Parts(HTMLParser):
    """Tags, and the text of what is not a script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def plots(self) -> dict[str, Any]:
        drawn: dict[str, Any] = json.loads(self.scripts[1])
        return drawn


def study_of(folder: Path, forks: Iterable[Fork], **changes: Any) -> Study:
    return replace(read(write(folder / "r", forks)), **changes)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    forks = [DETAILED, *(fork(n, n * MS // 9, comm=f"job-{n}") for n in range(1, 40))]
    forks.append(fork(40, trigger="maybe_guard", comm="java"))
    both = TriggerCost("uffd_wp", True, 1, MS, 0)
    forks.append(replace(fork(41), triggers=(both,)))
    return study_of(tmp_path, forks)


@pytest.fixture
def evil(tmp_path: Path) -> Study:
    """A recording in which everything that can be named is named badly."""
    detail = DETAILED.details or ()
    forks = [
        replace(
            DETAILED,
            comm=EVIL,
            cgroup=EVIL,
            triggers=(TriggerCost(EVIL, False, 2, 9 * MS, 0),),
            details=tuple(replace(vma, trigger=EVIL, flags=(EVIL,)) for vma in detail),
        )
    ]
    rule = replace(HEADER.rule, words=EVIL, read_from=EVIL)
    header = replace(
        HEADER,
        host=EVIL,
        release=EVIL,
        arch=EVIL,
        attach=EVIL,
        decision=EVIL,
        rule=rule,
        filters=Filters(comm=EVIL, cgroup=EVIL),
    )
    found = read(write(tmp_path / "r", forks, header=header))
    (dear,) = found.costliest
    dear = replace(dear, names={vma.start: EVIL for vma in detail})
    shares = tuple(replace(share, mapping=EVIL) for share in found.shares)
    return replace(found, costliest=(dear,), shares=shares, lost={EVIL: 1})


def test_it_answers_before_it_shows(study: Study) -> None:
    parts = Parts(page(study))
    said = parts.text
    assert "In 60 s, 42 forks took" in said
    assert said.index("In 60 s") < said.index("When forks happened")
    assert set(parts.plots) == {"timeline", "lengths", "triggers", "icicle"}
    for name in parts.plots:
        assert ("div", name) in [(tag, attrs.get("id")) for tag, attrs in parts.tags]


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


def test_plotly_gets_no_markup_from_names(evil: Study) -> None:
    ours = {"", "b", "br", "extra"}

    def strings(value: Any) -> Iterable[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                yield from strings(each)
        elif isinstance(value, str):
            yield value

    for text in strings(Parts(page(evil)).plots):
        tags = {tag.strip("/ ") for tag in re.findall(r"<([^>]*)>?", text)}
        assert tags <= ours, text


def test_of_many_forks_it_draws_some_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "_ALL_POINTS", 100)
    monkeypatch.setattr(aggregate, "_LONGEST_POINTS", 10)
    many = study_of(tmp_path, [fork(n, (n % 90 + 1) * MS) for n in range(500)])
    parts = Parts(page(many))
    assert "Of the 500 forks, the 10 longest are drawn one by one" in parts.text
    heat, *points = parts.plots["timeline"]["data"]
    assert heat["type"] == "heatmap"
    counted = sum(count for row in heat["customdata"] for count in row)
    assert counted == 500
    for by in ("trigger", "process"):
        assert sum(len(each["x"]) for each in points if each["meta"] == by) == 10
    assert page(many) == page(many)


def test_parts_of_the_icicle_never_exceed_the_whole(study: Study) -> None:
    (tree,) = Parts(page(study)).plots["icicle"]["data"]
    whole = dict(zip(tree["ids"], tree["values"]))
    sums: dict[str, int] = {}
    for parent, value in zip(tree["parents"], tree["values"]):
        sums[parent] = sums.get(parent, 0) + value
    del sums[""]
    assert sums
    assert all(total <= whole[parent] for parent, total in sums.items())
    assert "[heap]" in tree["labels"]
    assert "anonymous memory" in tree["labels"]


@pytest.mark.parametrize("forks", [[], [replace(fork(0, MS, copy_ns=0), triggers=())]])
def test_little_to_show_is_shown_all_the_same(
    tmp_path: Path, forks: list[Fork]
) -> None:
    parts = Parts(page(study_of(tmp_path, forks)))
    assert "In 60 s" in parts.text
    assert "icicle" not in parts.plots


def test_plotly_is_inside(study: Study) -> None:
    assert get_plotlyjs()[:2000] in page(study)


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize(
    ("kind", "theme"),
    [("study", "light"), ("study", "dark"), ("evil", "light"), ("many", "dark")],
)
def test_a_browser_draws_it_without_complaint(
    tmp_path: Path,
    theme: str,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "many":
        monkeypatch.setattr(aggregate, "_ALL_POINTS", 10)
        kind = "study"
    path = tmp_path / "page.html"
    path.write_text(page(request.getfixturevalue(kind)), encoding="utf-8")
    assert BROWSER
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", f"--user-data-dir={tmp_path}/profile"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000"),
            f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}",
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert f'data-drawn="{theme}"' in done.stdout
    drawn = [
        attributes.get("id")
        for _, attributes in Parts(done.stdout).tags
        if "js-plotly-plot" in (attributes.get("class") or "")
    ]
    assert sorted(map(str, drawn)) == ["icicle", "lengths", "timeline", "triggers"]
