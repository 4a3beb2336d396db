"""Does shared_buffers cost page tables at each connection? No; a guard page would."""

from __future__ import annotations

import sys
from statistics import median

import pytest

from forktrace.explain.pagetables import LEAF, PAGE
from tests.investigations.machine import investigate
from tests.investigations.postgresql import (
    CONNECTIONS,
    SHARED_BUFFERS,
    Found,
    Storm,
)

# One worker, for one boot.
pytestmark = pytest.mark.xdist_group("postgresql")

TABLES = SHARED_BUFFERS // LEAF * PAGE
"""What page tables for all of shared_buffers take, but for their edges."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Investigate once; every test looks at what was found."""
    folder = tmp_path_factory.mktemp("postgresql")
    result = investigate("postgresql", folder, sys.stdout.buffer)
    assert result.status == 0, result.output
    return Found.read(folder)


@pytest.fixture(scope="module")
def storms(found: Found) -> dict[str, Storm]:
    return {storm.name: storm for storm in found.storms}


def tables(storm: Storm) -> float:
    return float(median(fork["page_table_bytes"] for fork in storm.forks))


def test_shared_buffers_are_in_use(found: Found) -> None:
    assert found.used_bytes >= 300 << 20


def test_every_connection_was_traced(storms: dict[str, Storm]) -> None:
    for storm in storms.values():
        # pgbench looks at the server in one more connection, before it counts.
        assert CONNECTIONS <= len(storm.forks) <= CONNECTIONS + 1
        assert len(storm.traced) == len(storm.forks)
        assert all(fork["outcome"] == "ok" for fork in storm.forks)


@pytest.mark.parametrize("name", ["as it is", "all of it mapped"])
def test_no_connection_copies_page_tables_for_shared_buffers(
    storms: dict[str, Storm], name: str
) -> None:
    storm = storms[name]
    assert storm.foretold["decision"] == "skip"
    for vma in storm.traced:
        assert int(vma["end"], 16) - int(vma["start"], 16) >= SHARED_BUFFERS
        assert (vma["decision"], vma["page_table_bytes"]) == ("skip", 0)
        assert not vma["anon_vma"]


def test_not_even_where_the_postmaster_has_page_tables_for_it(
    storms: dict[str, Storm],
) -> None:
    plain, mapped = storms["as it is"], storms["all of it mapped"]
    more = (
        mapped.explained["own_page_table_bytes"]
        - plain.explained["own_page_table_bytes"]
    )
    # It had some before, for what it wrote there when it started.
    assert more >= TABLES // 2
    assert tables(mapped) == pytest.approx(tables(plain), abs=3 * PAGE)


def test_a_connection_costs_what_explain_foretold(storms: dict[str, Storm]) -> None:
    for storm in storms.values():
        assert tables(storm) == pytest.approx(
            storm.explained["page_table_bytes"], rel=0.1
        )


def test_one_guard_page_has_each_connection_copy_it(storms: dict[str, Storm]) -> None:
    guarded = storms["guarded"]
    assert guarded.foretold["trigger"] == "maybe_guard"
    for vma in guarded.traced:
        assert (vma["decision"], vma["trigger"]) == ("copy", "maybe_guard")
        assert vma["page_table_bytes"] >= TABLES
    assert tables(guarded) >= tables(storms["as it is"]) + TABLES
