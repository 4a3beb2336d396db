"""The story of shared_buffers and a storm of connections."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from forktrace.views.units import duration, size
from tests.demo.report import Section
from tests.investigations.postgresql import Found, Storm
from tests.investigations.stories.table import (
    costs,
    table,
    tables_of,
    time_of,
    wrapped,
)


def sections(found: Found) -> Iterator[Section]:
    """Give the answer first, then what it rests on."""
    plain = found.storms[0]
    copied = [vma for vma in plain.traced if vma["decision"] == "copy"]
    answer = "Yes" if copied else "No"
    what = size(int(plain.foretold["end"], 16) - int(plain.foretold["start"], 16))
    yield Section(
        "Does shared_buffers cost page tables at each connection?",
        (
            *wrapped(
                f"{answer}: in {len(plain.traced) - len(copied)} of "
                f"{len(plain.traced)} connections the kernel left out the {what} of "
                f"shared memory that PostgreSQL {found.version} has for it, "
                f"{size(found.used_bytes)} of them filled."
            ),
            "",
            *table(
                ("THE POSTMASTER", "FORKS", "SHARED_BUFFERS", "RSS", "ITS TABLES"),
                [_shared(storm) for storm in found.storms],
            ),
        ),
    )
    yield Section(
        "What a connection costs: the least of its times",
        table(
            ("THE POSTMASTER", "FORK", "COPYING", "TABLES", "VMAS COPIED", "OF"),
            [_whole(storm) for storm in found.storms],
        ),
    )
    yield Section(
        "Of one connection as it is, by trigger",
        table(
            ("TRIGGER", "VMAS", "COPYING", "TABLES"),
            [
                (trigger, str(vmas), duration(copy_ns), size(bytes_))
                for trigger, (vmas, copy_ns, bytes_) in costs(plain.forks).items()
            ],
        ),
    )


def _shared(storm: Storm) -> tuple[str, ...]:
    decisions = {vma["trigger"] or vma["decision"] for vma in storm.traced}
    return (
        storm.name,
        str(len(storm.forks)),
        ", ".join(sorted(decisions)),
        size(storm.foretold["rss_bytes"]),
        size(median(vma["page_table_bytes"] for vma in storm.traced)),
    )


def _whole(storm: Storm) -> tuple[str, ...]:
    return (
        storm.name,
        time_of(storm.forks, "duration_ns"),
        time_of(storm.forks),
        tables_of(storm.forks),
        str(storm.forks[0]["vmas"]["copy"]),
        str(sum(storm.forks[0]["vmas"].values())),
    )
