"""A guard page that slows Redis's forks is found, explained, taken out: it pays."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from forktrace.explain.pagetables import LEAF, PAGE
from tests.investigations.explained import Record, compare
from tests.investigations.machine import investigate
from tests.investigations.redis import SAVES, Found, Round
from tests.investigations.stories.table import costs

# One worker, for one boot.
pytestmark = pytest.mark.xdist_group("guarded_redis")

EDGES = 3 * PAGE
"""A page of page tables on each level, which one may share with what lies beside."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Investigate once; every test looks at what was found."""
    folder = tmp_path_factory.mktemp("guarded_redis")
    result = investigate("redis", folder, sys.stdout.buffer)
    assert result.status == 0, result.output
    return Found.read(folder)


def mappings(found: Found, of: Round) -> list[Record]:
    """Return the VMAs of the library's file, as explained."""
    return [vma for vma in of.explained["details"] if vma["name"] == found.file]


def test_top_shows_redis_as_the_dearest_by_guards(found: Found) -> None:
    copied: Counter[str] = Counter()
    triggers: Counter[str] = Counter()
    for window in found.windows:
        for usage in window["processes"]:
            copied[usage["comm"]] += usage["copy_ns"]
            if usage["comm"] == "redis-server":
                triggers.update(usage["trigger_copy_ns"])
    assert len(copied) > 1
    assert copied.most_common(1)[0][0] == "redis-server"
    assert triggers["maybe_guard"] > 0


def test_explain_names_the_mapping_its_guard_page_and_what_it_costs(
    found: Found,
) -> None:
    (mapping,) = mappings(found, found.before)
    assert int(mapping["end"], 16) - int(mapping["start"], 16) == found.mapped_bytes
    assert (mapping["decision"], mapping["trigger"]) == ("copy", "maybe_guard")
    assert mapping["guard_bytes"] == PAGE
    # One page makes fork copy a page of page tables for every 2 MiB of the mapping.
    expected = found.mapped_bytes // LEAF * PAGE
    assert expected <= mapping["page_table_bytes"] <= expected + EDGES


def test_explain_advises_to_take_it_out(found: Found) -> None:
    (mapping,) = mappings(found, found.before)
    first = found.before.explained["advice"][0]
    assert first["action"] == "unguard"
    assert first["mappings"] == [mapping["start"]]
    assert first["page_table_bytes"] == mapping["page_table_bytes"]
    assert "PROT_NONE" in first["text"]
    assert "library.data" in found.told


def test_there_is_nothing_left_to_advise_afterwards(found: Found) -> None:
    actions = [advice["action"] for advice in found.after.explained["advice"]]
    assert "unguard" not in actions
    (mapping,) = mappings(found, found.after)
    assert mapping["decision"] == "skip"


@pytest.mark.parametrize("name", ["before", "after"])
def test_each_bgsave_copied_what_was_foretold(found: Found, name: str) -> None:
    of: Round = getattr(found, name)
    assert len(of.forks) == SAVES
    for fork in of.forks:
        compared = compare(of.explained, fork)
        assert [each for each in compared.surprises if not each.doubted] == []
        assert compared.apart < 0.02


def test_the_guard_is_no_trigger_any_more(found: Found) -> None:
    before, after = costs(found.before.forks), costs(found.after.forks)
    vmas, spent, _ = before["maybe_guard"]
    assert vmas == 1
    # All of it is saved; whole forks are not compared, which a busy host delays.
    assert spent > 0
    assert "maybe_guard" not in after


def test_the_next_bgsave_saves_what_explain_promised(found: Found) -> None:
    promised = found.before.explained["advice"][0]["page_table_bytes"]
    assert costs(found.before.forks)["maybe_guard"][2] == promised
    for fork in found.after.forks:
        saved = found.before.forks[0]["page_table_bytes"] - fork["page_table_bytes"]
        assert abs(saved - promised) <= EDGES
