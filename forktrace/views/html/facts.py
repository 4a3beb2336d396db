"""What the page says last: where, when and how was recorded."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape

from forktrace.report.study import Study
from forktrace.text import printable
from forktrace.views import report as text
from forktrace.views.lines import counts_words
from forktrace.views.verdict import span


def facts(study: Study) -> str:
    """Return the section about the recording itself."""
    told = "".join(
        f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>\n"
        for what, value in _facts(study)
    )
    return f"<section>\n<h2>The recording</h2>\n<dl>\n{told}</dl>\n</section>"


def _facts(study: Study) -> list[tuple[str, str]]:
    head = study.header
    began = datetime.fromtimestamp(head.time_ns // 10**9, timezone.utc)
    rule = f"{printable(head.rule.words)} (read from {printable(head.rule.read_from)})"
    attach, decision = printable(head.attach), printable(head.decision)
    told = [
        ("kernel", f"{printable(head.release)}, {printable(head.arch)}"),
        ("its rule", rule),
        ("began", f"{began:%Y-%m-%d %H:%M:%S} UTC, on {printable(head.host)}"),
        ("lasted", f"{span(study)}; it {text.ENDINGS.get(study.ended, 'ended')}"),
        ("which forks", text.chosen(study)),
        *([("shown", text.shown(study))] if study.choice else []),
        ("VMAs", counts_words(study.vmas)),
        ("seen by", f"{attach} probes, decisions from {decision}"),
    ]
    if study.host and study.host.programs and study.host.duration_ns:
        own = sum(each.run_ns for each in study.host.programs)
        told.append(
            ("tracing took", f"{own / study.host.duration_ns:.1%} of fork time")
        )
    return told
