"""One of the most expensive forks: a line that unfolds to its costliest mappings."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape

from forktrace.model import Fork
from forktrace.report.study import Dear
from forktrace.text import named, printable
from forktrace.views import parts
from forktrace.views import report as text
from forktrace.views.html.tables import cgroup_label, table, trigger_label
from forktrace.views.lines import in_thread, with_pages
from forktrace.views.units import duration, size

_MAPPINGS = 12

_VMA_HEADS = (
    ("time", "number"),
    ("page tables", "number"),
    ("size", "number"),
    ("trigger", ""),
    ("address", "address"),
    ("flags", "mapping"),
    ("mapping", "mapping"),
)


def _times(fork: Fork) -> str:
    return f"; {parts.shares(vars(fork.parts))}" if fork.parts else ""


def costly_fork(dear: Dear) -> str:
    """Return the fork, folded."""
    fork = dear.fork
    began = datetime.fromtimestamp(fork.time_ns // 10**9, timezone.utc)
    counts = fork.vmas
    clock = f"{began:%H:%M:%S}.{fork.time_ns // 10**6 % 1000:03d} UTC"
    said = (
        f"<b>{duration(fork.duration_ns)}</b> {escape(named(fork.comm))}"
        f"[{fork.pid}] <span>at {clock}; "
        f"{duration(fork.copy_ns)} copying {counts.copy} of {counts.every} VMAs, "
        f"{size(fork.page_table_bytes)}; {cgroup_label(printable(fork.cgroup))}"
        f"{with_pages(fork)}{escape(in_thread(fork))}{_times(fork)}</span>"
    )
    copied = text.copied_vmas(dear)
    if not copied:
        return f"<details><summary>{said}</summary></details>\n"
    rows = [
        [
            duration(vma.copy_ns),
            size(vma.page_table_bytes),
            size(vma.end - vma.start),
            trigger_label(vma.trigger or ""),
            f"{vma.start:x} {text.permissions(vma)}",
            escape(printable(" ".join(vma.flags))),
            escape(text.mapping(dear, vma)),
        ]
        for vma in copied[:_MAPPINGS]
    ]
    mappings = table(_VMA_HEADS, rows)
    rest = copied[_MAPPINGS:]
    if rest:
        cost = duration(sum(vma.copy_ns for vma in rest))
        mappings += f'\n<p class="caption">and {len(rest)} more: {cost}</p>'
    return f"<details><summary>{said}</summary>\n{mappings}\n</details>\n"
