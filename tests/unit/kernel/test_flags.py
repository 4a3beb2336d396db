"""Bits of vm_flags have the kernel's own names."""

from __future__ import annotations

import pytest

from forktrace.kernel.flags import FlagNames, bits_of, version_of
from tests.unit.kernel.fixtures import load

NEW = "7.3.4+deb13-cloud-amd64"


def test_the_table_agrees_with_a_kernel_that_names_its_bits() -> None:
    bits = load(NEW).vma_bits
    for bit, name in FlagNames().known.items():
        assert bits[f"VMA_{name.upper()}_BIT"] == bit


def test_the_kernel_names_bits_that_the_table_does_not_know() -> None:
    names = FlagNames.of("9.9.0", {"VMA_BRAND_NEW_BIT": 55})
    assert names.name(55) == "brand_new"
    assert FlagNames().name(55) == "bit_55"


def test_of_a_bits_two_names_ours_stays_else_the_first() -> None:
    enumerators = {
        "VMA_GROWSDOWN_BIT": 8,
        "VMA_STACK_BIT": 8,
        "VMA_HIGH_ARCH_5_BIT": 37,
    }
    names = FlagNames.of("7.0", enumerators)
    assert (names.name(8), names.name(37)) == ("growsdown", "high_arch_5")


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("5.10.0-46-amd64", "denywrite"),
        ("5.14.21", "denywrite"),
        ("5.15.0", "maybe_guard"),
        ("6.18.37", "maybe_guard"),
    ],
)
def test_bit_11_was_denywrite_before_5_15(release: str, name: str) -> None:
    assert FlagNames.of(release, {}).name(11) == name


def test_names_come_in_bit_order() -> None:
    assert FlagNames().names(0x80010001C00) == (
        "pfnmap",
        "maybe_guard",
        "uffd_wp",
        "mixedmap",
        "uffd_rwp",
    )


def test_bits_of_nothing_are_none() -> None:
    assert list(bits_of(0)) == []
    assert list(bits_of(0b1010)) == [1, 3]


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.37", (6, 18, 37)),
        ("6.12.117+deb13-cloud-amd64", (6, 12, 117)),
        ("6.19-rc3", (6, 19, 0)),
        ("odd", (0, 0, 0)),
    ],
)
def test_versions_compare_as_numbers(
    release: str, version: tuple[int, int, int]
) -> None:
    assert version_of(release) == version
