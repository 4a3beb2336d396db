"""A fork beside what was foretold of it: what differs, and whether that was doubted."""

from __future__ import annotations

from typing import Any

from tests.investigations.explained import Surprise, compare


def foretold(*details: dict[str, Any]) -> dict[str, Any]:
    return {
        "page_table_bytes": sum(
            vma["page_table_bytes"] for vma in details if vma["trigger"]
        ),
        "details": list(details),
    }


def traced(*details: dict[str, Any]) -> dict[str, Any]:
    return {
        "page_table_bytes": sum(vma["page_table_bytes"] for vma in details),
        "vmas": {"copy": sum(vma["trigger"] is not None for vma in details)},
        "details": list(details),
    }


def vma(
    start: int, trigger: str | None, size: int = 0, doubt: str | None = None
) -> dict[str, Any]:
    return {
        "start": f"{start:#x}",
        "name": f"file{start}",
        "trigger": trigger,
        "page_table_bytes": size,
        "doubt": doubt,
    }


def test_a_fork_as_foretold_has_no_surprises() -> None:
    compared = compare(
        foretold(vma(1, "anon_vma", 8192), vma(2, None)),
        traced(vma(1, "anon_vma", 8192), vma(2, None)),
    )
    assert compared.surprises == ()
    assert (compared.copied, compared.vmas, compared.apart) == (1, 2, 0.0)


def test_what_was_doubted_is_left_out_of_the_difference() -> None:
    compared = compare(
        foretold(vma(1, "anon_vma", 8192), vma(2, None, 4096, "anon_vma")),
        traced(vma(1, "anon_vma", 8192), vma(2, "anon_vma", 4096)),
    )
    surprise = Surprise("0x2", "file2", None, "anon_vma", 4096, doubted=True)
    assert compared.surprises == (surprise,)
    assert (compared.traced, compared.doubted, compared.apart) == (12288, 4096, 0.0)


def test_what_was_not_doubted_counts() -> None:
    compared = compare(
        foretold(vma(1, "anon_vma", 8192), vma(2, None)),
        traced(vma(1, "anon_vma", 8192), vma(2, "maybe_guard", 8192)),
    )
    assert [each.doubted for each in compared.surprises] == [False]
    assert compared.apart == 0.5


def test_vmas_that_came_or_went_are_surprises_if_copied() -> None:
    compared = compare(
        foretold(vma(1, "anon_vma", 4096), vma(16, None)),
        traced(vma(2, "anon_vma", 4096), vma(17, None)),
    )
    assert [
        (each.start, each.foretold, each.traced) for each in compared.surprises
    ] == [
        ("0x1", "anon_vma", None),
        ("0x2", None, "anon_vma"),
    ]
