"""Real programs fork on a real kernel, and copy what explain foretold."""

from __future__ import annotations

import sys

import pytest

from tests.investigations.explained import Comparison, compare
from tests.investigations.machine import investigate
from tests.investigations.programs import NAMES, Found

# One worker, for one boot.
pytestmark = pytest.mark.xdist_group("programs")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Boot once; every test looks at what was found."""
    folder = tmp_path_factory.mktemp("programs")
    result = investigate("programs", folder, sys.stdout.buffer)
    assert result.status == 0, result.output
    return Found.read(folder)


@pytest.fixture(scope="module")
def compared(found: Found) -> dict[str, Comparison]:
    return {each.name: compare(each.explained, each.fork) for each in found.forked}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_vmas_are_copied_for_the_same_reasons(
    compared: dict[str, Comparison], name: str
) -> None:
    """Only those may turn out otherwise that explain itself calls doubtful."""
    assert compared[name].copied > 0
    assert [vma for vma in compared[name].surprises if not vma.doubted] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_tables_are_foretold_to_10_percent(
    compared: dict[str, Comparison], name: str
) -> None:
    assert compared[name].apart <= 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_is_the_running_kernels_own(found: Found, name: str) -> None:
    (answer,) = (each.explained for each in found.forked if each.name == name)
    assert answer["rule"]["read_from"] == "code"
    assert answer["guessed_bytes"] == 0
