"""What bpftrace prints at its end, read back."""

from __future__ import annotations

from tests.bench.tracers import Counted, read_maps

PRINTED = """
{"type": "attached_probes", "data": {"probes": 5}}

{"type": "stats", "data": {"@copy": {"1": {"count": 7, "average": 10, "total": 70},
 "2048": {"count": 2, "average": 5, "total": 10}}}}
{"type": "stats", "data": {"@forks": {"count": 3, "average": 9, "total": 27}}}
{"type": "map", "data": {"@page_tables": {"1": 8192, "2048": 4096}}}
{"type": "map", "data": {"@skip": 11}}
""".replace("\n ", " ")


def test_maps_become_counts_of_all_triggers() -> None:
    assert read_maps(PRINTED) == Counted(
        forks=3, copied=9, skipped=11, page_table_bytes=12288
    )


def test_a_map_that_nothing_went_into_counts_nothing() -> None:
    assert read_maps('{"type": "map", "data": {"@skip": 1}}') == Counted(skipped=1)
