"""The whole page: plots, tables and the reading of them, nothing from elsewhere."""

from __future__ import annotations

import base64
import gzip
import json
from html import escape
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from forktrace import __version__
from forktrace.report.study import Study
from forktrace.text import printable
from forktrace.views import plots
from forktrace.views.html import PAGE_START
from forktrace.views.html.facts import facts
from forktrace.views.html.sections import sections
from forktrace.views.html.summary import summary

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)


def page(study: Study, rows: int | None = None) -> str:
    """Return the whole page; ``rows`` is how many a table has at most."""
    drawn = _plots(study)
    title = f"Forks on {printable(study.header.host)}"
    return f"""{PAGE_START}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_file("style.css")}</style>
</head>
<body>
<main>
{summary(study, title)}
{sections(study, rows)}
{facts(study)}
<footer>Made by forktrace {escape(__version__)}. Durations are inside the kernel, from
the call of fork to its return; sizes are powers of 1024.</footer>
</main>
{_scripts(drawn) if drawn else ""}</body>
</html>
"""


def _plots(study: Study) -> dict[str, Any]:
    if not study.forks:
        return {}
    drawn = {
        "timeline": plots.timeline_plot(study),
        "lengths": plots.length_plot(study),
    }
    if study.copies.sum:
        drawn["triggers"] = plots.trigger_plot(study)
        drawn["icicle"] = plots.icicle_plot(study)
    if study.callers:
        drawn["callers"] = plots.callers_plot(study)
    return {name: plot.to_json() for name, plot in drawn.items()}


def _scripts(drawn: dict[str, Any]) -> str:
    """Return what draws the plots, and the plots."""
    return f"""<script type="application/gzip" id="plotly">{_plotly()}</script>
<script type="application/json" id="plots">{_safe_json(drawn)}</script>
<script>
{_file("draw.js")}</script>
"""


def _plotly() -> str:
    """Return plotly.js as draw.js unpacks it, two fifths as long."""
    # Without a time, so that a page is the same every time.
    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)
    return base64.b64encode(packed).decode()


def _safe_json(value: Any) -> str:
    """Return JSON in which nothing can end the script element that holds it."""
    said = json.dumps(value, separators=(",", ":"))
    for letter in "<>&":
        said = said.replace(letter, f"\\u{ord(letter):04x}")
    return said


def _file(name: str) -> str:
    return (resources.files("forktrace.views") / "page" / name).read_text("utf-8")
