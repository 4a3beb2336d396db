"""A picture shows what was answered to its dashboard, by a Grafana that is pinned."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from dashboards.queries import HERE, Query, all_panels, panels, substituted
from forktrace.errors import ForktraceError
from tests.stack.guest import VALUES
from tests.stack.picture.answers import KINDS, answered, kept, silent, span
from tests.stack.picture.components import HERE as PICTURE
from tests.stack.picture.components import LOCK

PATHS = sorted(HERE.glob("*.json"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def series(query: Query) -> dict[str, Any]:
    """Return what Prometheus might say: the query itself tells where it has been."""
    value = [2.0, "1"]
    given = {"value": value} if query.instant else {"values": [[1.0, "1"], value]}
    return {"metric": {"asked": query.expression}, **given}


def answers(*left_out: str) -> dict[str, Any]:
    made: dict[str, Any] = {kind: {} for kind in KINDS}
    for query in panels(VALUES):
        if not query.where.endswith(left_out):
            made[KINDS[query.instant]][query.expression] = [series(query)]
    return made


def test_each_query_has_its_own_answer_in_folded_rows_too(path: Path) -> None:
    dashboard = answered(json.loads(path.read_text()), answers())
    for panel in all_panels(dashboard):
        for target in panel.get("targets", ()):
            (answer,) = target["answer"]
            assert answer["metric"]["asked"] == substituted(target["expr"], VALUES)
            assert len(answer["values"]) == (1 if target.get("instant") else 2)
            assert "$" not in target["legendFormat"]


def test_a_panel_whose_queries_all_gave_nothing_is_told_of() -> None:
    given = answers()
    (query,) = (q for q in panels(VALUES) if q.where == "forktrace-overview: Lost")
    given[KINDS[query.instant]][query.expression] = []
    read = json.loads((HERE / "forktrace-overview.json").read_text())
    assert silent(answered(read, answers())) == []
    assert silent(answered(read, given)) == ["Lost"]


def test_answers_that_lack_a_query_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "curves.json"
    file.write_text(json.dumps(answers()))
    assert span(kept(file)) == (1.0, 2.0)
    file.write_text(json.dumps(answers(": Slowest host")))
    with pytest.raises(ForktraceError, match="has no answer to topk"):
        kept(file)


def test_every_kind_of_panel_can_be_drawn() -> None:
    page = (PICTURE / "page.jsx").read_text()
    (known,) = re.findall(r"const KINDS = \{(.*?)\}", page, re.DOTALL)
    kinds = {
        panel["type"]
        for path in PATHS
        for panel in all_panels(json.loads(path.read_text()))
    }
    assert kinds - {"text"} == set(re.findall(r"(\w+):", known))


def test_packages_are_pinned_to_the_grafana_that_the_dashboards_are_for() -> None:
    wanted = json.loads((PICTURE / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pinned) for pinned in wanted.values())
    grafana = {
        pinned for name, pinned in wanted.items() if name.startswith("@grafana/")
    }
    (pinned,) = grafana
    sdk = version("grafana-foundation-sdk").split("!")[-1]
    assert pinned.split(".")[:2] == sdk.split(".")[:2]
    lock = json.loads(LOCK.read_text())["packages"]
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert not any("resolved" in package for package in lock.values())


def test_the_documents_show_a_picture_of_each_dashboard(path: Path) -> None:
    picture = path.with_suffix(".png")
    assert f"({picture.name})" in (HERE / "README.md").read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 400_000
