"""The page at ``/``: what this host's forks copied, for a person with a browser.

One self-contained HTML document that asks for itself again every few seconds. It has
no script and loads nothing, so it also works where the network is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from forktrace import __version__
from forktrace.fields import rfc3339
from forktrace.model import Fork, KernelInfo, Totals, TriggerCost
from forktrace.text import encodable
from forktrace.views.units import duration, size

REFRESH_SECONDS = 5
LATEST_FORKS = 20
"""How many forks the page shows."""

_READ_FROM = {
    "code": "read from this kernel's own code",
    "btf": "read from this kernel's type information (BTF)",
    "table": "taken from a table of releases",
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5d6878;--paper:#f5f6f8;
--card:#fff;--line:#e1e5eb;--accent:#2f6fde;--warn:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ef;--soft:#98a3b5;--paper:#12161d;
--card:#1a202a;--line:#2b3340;--accent:#6ea0ff;--warn:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:68rem;margin:0 auto;padding:2rem 1.25rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1rem}
h1{font-size:1.6rem;margin:0;letter-spacing:-.01em}
h2{font-size:1rem;margin:0 0 .75rem}
.soft{color:var(--soft)} .warn{color:var(--warn)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:1.1rem 1.25rem;margin-top:1rem;overflow-x:auto}
.rule{font-size:1.05rem;margin:0;white-space:pre-line;overflow-wrap:anywhere}
.rule+p{margin:.5rem 0 0}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1rem;
margin:1rem 0 0}
dl div{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:.8rem 1rem}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0;white-space:nowrap;font-size:1.45rem;font-weight:600;font-variant-numeric:tabular-nums}
dd small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500;color:var(--soft);font-size:.85rem}
th,td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);
white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tbody tr:last-child td{border-bottom:0}
.n{text-align:right}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
meter{width:7rem;height:.55rem;border:0;vertical-align:middle;
background:var(--line);border-radius:1rem;overflow:hidden}
meter::-webkit-meter-bar{background:var(--line);border:0;border-radius:1rem;
height:.55rem}
meter::-webkit-meter-optimum-value{background:var(--accent);border-radius:1rem}
meter::-moz-meter-bar{background:var(--accent)}
a{color:var(--accent)}
footer{margin-top:1.25rem;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem}
"""


def landing_page(
    info: KernelInfo,
    rule: str,
    totals: Totals,
    latest: Sequence[Fork] = (),
    metrics_path: str = "/metrics",
) -> str:
    """Return the page as HTML.

    ``rule`` says in words what makes this kernel copy; lines in it stay lines.
    ``latest`` are the newest forks, newest first; more than fit are left out.
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<title>forktrace on {_text(info.release)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{REFRESH_SECONDS}">
<link rel="icon" href="data:,">
<style>{_STYLE}</style></head><body><main>
<header><h1>forktrace</h1>
<span class="soft">what fork() copies on this host, and why</span></header>
{_rule(info, rule)}
{_figures(totals)}
{_triggers(totals.triggers)}
{_forks(latest[:LATEST_FORKS])}
<footer class="soft"><a href="{metrics_path}">{metrics_path}</a>
<a href="/healthz">/healthz</a>
<span>forktrace {_text(__version__)}</span>
<span>sums since the probes were attached; renewed every {REFRESH_SECONDS} s</span>
</footer></main></body></html>
"""


def _rule(info: KernelInfo, rule: str) -> str:
    return f"""<section><h2>When Linux {_text(info.release)} copies page tables</h2>
<p class="rule">{escape(rule)}</p>
<p class="soft">Mask <code>{info.mask:#x}</code>, {_READ_FROM[info.read_from]}.
Probes: {_text(info.attach)}.</p></section>"""


def _figures(totals: Totals) -> str:
    ok, failed = totals.forks.get("ok", 0), totals.forks.get("failed", 0)
    vmas, discards = totals.vmas, totals.exec_discards
    tables = sum(cost.page_table_bytes for cost in totals.triggers)
    disagree = sum(
        count
        for (_, result), count in totals.decision_checks.items()
        if result == "disagree"
    )
    checks = sum(totals.decision_checks.values())
    figures = [
        ("Forks", _count(ok + failed), f"{_count(failed)} failed"),
        ("VMAs copied", _count(vmas.copy), f"{_count(vmas.skip)} skipped"),
        (
            "Time in fork",
            duration(totals.fork_duration.sum_ns),
            f"{duration(totals.copy_duration.sum_ns)} copying",
        ),
        (
            "Page tables",
            size(tables),
            f"{size(discards.page_table_bytes)} lost to exec",
        ),
        ("Rule checked", _count(checks), _alarm(disagree, "disagree")),
        ("Lost", _count(sum(totals.lost.values())), _losses(totals.lost)),
    ]
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"
        for name, value, note in figures
    )
    return f"<dl>{tiles}</dl>"


def _alarm(count: int, what: str) -> str:
    text = f"{_count(count)} {what}"
    return f'<span class="warn">{text}</span>' if count else text


def _losses(lost: dict[str, int]) -> str:
    losses = [_alarm(count, _text(stage)) for stage, count in lost.items() if count]
    return ", ".join(losses) or "nothing"


def _triggers(costs: Sequence[TriggerCost]) -> str:
    copied = [cost for cost in costs if cost.vmas]
    if not copied:
        return _section("Why", '<p class="soft">Nothing was copied yet.</p>')
    most = max(1, *(cost.copy_ns for cost in copied))
    rows = [
        (
            f"<code>{_text(cost.trigger)}</code>",
            "yes" if cost.anon_vma else "no",
            _count(cost.vmas),
            duration(cost.copy_ns),
            f'<meter max="{most}" value="{cost.copy_ns}"></meter>',
            size(cost.page_table_bytes),
        )
        for cost in sorted(copied, key=lambda cost: cost.copy_ns, reverse=True)
    ]
    head = ("Trigger", "anon_vma", "VMAs#", "Copy time#", "", "Page tables#")
    return _section("Why", _table(head, rows))


def _forks(forks: Sequence[Fork]) -> str:
    if not forks:
        return _section("Latest forks", '<p class="soft">None seen yet.</p>')
    rows = [
        (
            f"<code>{rfc3339(fork.time_ns)[11:23]}</code>",
            _text(fork.comm),
            str(fork.pid),
            _child(fork),
            duration(fork.duration_ns),
            duration(fork.copy_ns),
            size(fork.page_table_bytes),
            f"{_count(fork.vmas.copy)} of {_count(_all_vmas(fork))}",
            ", ".join(f"<code>{_text(cost.trigger)}</code>" for cost in fork.triggers),
        )
        for fork in forks
    ]
    head = (
        "Time (UTC)", "Process", "PID#", "Child#", "Took#", "Copying#",
        "Page tables#", "VMAs copied#", "Triggers",
    )  # fmt: skip
    return _section("Latest forks", _table(head, rows))


def _child(fork: Fork) -> str:
    if fork.outcome == "ok":
        return str(fork.child_pid)
    return f'<span class="warn">{_text(fork.errno or "failed")}</span>'


def _all_vmas(fork: Fork) -> int:
    return sum(fork.vmas.to_json().values())


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a heading that ends in ``#`` makes a column of numbers."""
    marks = [' class="n"' if name.endswith("#") else "" for name in head]
    heading = "".join(
        f"<th{mark}>{name.rstrip('#')}</th>" for mark, name in zip(marks, head)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    # A name may hold control characters; a browser must see what they are.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return escape(encodable(shown))


def _count(count: int) -> str:
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
