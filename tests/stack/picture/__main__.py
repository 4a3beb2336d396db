"""Draw each dashboard as Grafana would lay it out, from the answers of a real run.

    python -m tests.stack.picture CURVES FOLDER [SCALE]

CURVES is the ``curves.json`` that tests.stack.guest leaves (tests/live/test_stack.py
keeps it in .cache/results/stack); FOLDER takes one PNG for each dashboard. It needs
Debian's chromium, not Grafana: grid, titles, units, legends and thresholds are those of
the JSON, how they are drawn is only like Grafana's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from dashboards.queries import HERE, substituted
from tests.patience import PATIENCE
from tests.stack.guest import VALUES
from tests.stack.picture import charts

COLUMN, ROW, GAP = 62, 30, 8
"""Pixels of Grafana's grid; its cells are a little larger."""

_STYLE = f"""
body{{margin:0;background:#111217;color:#ccccdc;width:{24 * (COLUMN + GAP) + GAP}px;
font:12px/1.35 Inter,"DejaVu Sans",sans-serif;position:relative}}
.bar-top{{padding:12px 16px;font-size:15px}} .bar-top b{{margin-right:18px}}
.bar-top span{{background:#22252b;padding:4px 8px;margin-right:8px;font-size:12px}}
main{{position:relative}}
.panel{{position:absolute;background:#181b1f;border:1px solid #2a2d33;
border-radius:2px;overflow:hidden;box-sizing:border-box}}
.panel h2{{font-size:13px;font-weight:500;margin:0;padding:6px 8px;white-space:nowrap}}
.row{{position:absolute;font-size:15px;padding:5px 8px}}
svg{{display:block}} svg text{{fill:#ccccdc;font-size:11px}} svg .soft{{fill:#9a9aa8}}
svg line{{stroke:#2a2d33}} svg path{{stroke-width:1.5}}
.figure{{font-size:34px;font-weight:500;padding:6px 10px 2px;text-align:center}}
.bar{{display:flex;align-items:center;gap:8px;padding:4px 10px}}
.bar span{{min-width:110px;text-align:right;white-space:nowrap}}
.bar div{{flex:1;background:#22252b}} .bar i{{display:block;height:16px;
background:#5794f2}} .bar b{{width:84px;font-weight:500;color:#8ab8ff}}
table{{border-collapse:collapse;width:100%}} th{{color:#8ab8ff;font-weight:500}}
th,td{{text-align:left;padding:6px 10px;border-bottom:1px solid #2a2d33}}
.n{{text-align:right}} .none{{padding:30px;text-align:center;color:#9a9aa8}}
"""


def main() -> int:
    """Draw all of them; return the exit status: 1 where a panel has no data."""
    curves = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    scale = sys.argv[3] if len(sys.argv) > 3 else "1"
    empty: list[str] = []
    for path in sorted(HERE.glob("forktrace-*.json")):
        html, height = _page(json.loads(path.read_text()), curves, empty)
        picture = folder / f"{path.stem}.png"
        _photograph(html, height, picture, scale)
        print(picture)
    for title in empty:
        print(f"{title}: no data", file=sys.stderr)
    return int(bool(empty))


def _page(
    dashboard: dict[str, Any], curves: dict[str, Any], empty: list[str]
) -> tuple[str, int]:
    parts, height = [], 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, top = GAP + place["x"] * (COLUMN + GAP), place["y"] * (ROW + GAP)
        width = place["w"] * (COLUMN + GAP) - GAP
        tall = place["h"] * (ROW + GAP) - GAP
        height = max(height, top + tall)
        where = f"left:{left}px;top:{top}px;width:{width}px;height:{tall}px"
        title = escape(panel["title"])
        if panel["type"] == "row":
            mark = "▸" if panel["collapsed"] else "⌄"
            parts.append(f'<div class="row" style="{where}">{mark} {title}</div>')
            continue
        if panel["type"] == "text":
            links = re.findall(r"\[(.*?)\]", panel["options"]["content"])
            items = "".join(f"<li>{escape(link)}</li>" for link in links)
            content = f"<ul>{items}</ul>"
        else:
            content = _content(panel, curves, width, tall - 34)
        if not content:
            empty.append(f"{dashboard['title']}: {panel['title']}")
            content = '<div class="none">No data</div>'
        parts.append(
            f'<div class="panel" style="{where}"><h2>{title}</h2>{content}</div>'
        )
    chosen = {**VALUES, "job": "All", "datasource": "default"}
    variables = "".join(
        f"<span>{escape(each['label'])}: {escape(chosen[each['name']])}</span>"
        for each in dashboard["templating"]["list"]
    )
    html = (
        f'<!DOCTYPE html><meta charset="utf-8"><style>{_STYLE}</style>'
        f'<div class="bar-top"><b>{escape(dashboard["title"])}</b>{variables}</div>'
        f"<main>{''.join(parts)}</main>"
    )
    return html, height + 60


def _content(
    panel: dict[str, Any], curves: dict[str, Any], width: int, height: int
) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    by_query = [
        [
            _renamed(charts.named(_legend(target), answer), panel)
            for answer in curves.get(substituted(target["expr"], VALUES), ())
        ]
        for target in panel["targets"]
    ]
    found = [series for query in by_query for series in query]
    if not found:
        return ""
    kind = panel["type"]
    if kind == "timeseries":
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        stacked = custom.get("stacking", {}).get("mode") == "normal"
        return charts.lines(found, unit, width, height, stacked=stacked)
    if kind == "stat":
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
        bad = [step["value"] for step in steps if step["color"] == "red"]
        named = panel["options"]["textMode"] == "value_and_name"
        limit = bad[0] if bad else None
        return charts.figure(found[0], unit, limit, width, named=named)
    if kind == "heatmap":
        return charts.heatmap(found, width, height)
    if kind == "table":
        return charts.table(_columns(panel, by_query))
    return charts.bars(_now(found), unit)


def _now(found: list[charts.Series]) -> list[charts.Series]:
    """Return those that an instant query would give: with a value at the end."""
    end = max(series.points[-1][0] for series in found)
    return [series for series in found if series.points[-1][0] == end]


def _renamed(series: charts.Series, panel: dict[str, Any]) -> charts.Series:
    for step in panel.get("transformations", ()):
        if step["id"] == "renameByRegex":
            words = step["options"]["renamePattern"].replace("$1", r"\1")
            name = re.sub(step["options"]["regex"], words, series.name)
            series = replace(series, name=name)
    for override in panel["fieldConfig"]["overrides"]:
        pattern, (what, *_) = override["matcher"]["options"], override["properties"]
        if what["id"] == "color" and re.search(pattern.strip("/"), series.name):
            series = replace(series, colour=what["value"]["fixedColor"])
    return series


def _legend(target: dict[str, Any]) -> str:
    legend: str = target.get("legendFormat") or ""
    return re.sub(r"\$(\w+)", lambda name: VALUES.get(name[1], ""), legend)


def _columns(
    panel: dict[str, Any], by_query: list[list[charts.Series]]
) -> list[tuple[str, str, list[charts.Series]]]:
    units = {
        override["matcher"]["options"]: override["properties"][0]["value"]
        for override in panel["fieldConfig"]["overrides"]
    }
    names = panel["transformations"][1]["options"]["renameByName"]
    titles = [names[f"Value #{target['refId']}"] for target in panel["targets"]]
    return [(name, units[name], found) for name, found in zip(titles, by_query)]


def _photograph(html: str, height: int, picture: Path, scale: str) -> None:
    width = 24 * (COLUMN + GAP) + GAP
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html)
        command = (
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
            *("--disable-quic", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}",
            f"--force-device-scale-factor={scale}",
            f"--screenshot={picture.resolve()}",
            page.as_uri(),
        )
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
