"""The rule decides as mm/memory.c does, and says so in words.

What the code of real kernels holds is EXPECTED: test_decode finds it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import (
    Rule,
    read_rule,
    rule_from_btf,
    rule_of_release,
)
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import Text, Unreadable
from tests.unit.kernel.fixtures import (
    AS_RELEASED,
    EXPECTED,
    FROM_6_0,
    FROM_6_19,
    FROM_7_3,
    GUARD,
    HUGETLB,
    MIXEDMAP,
    PFNMAP,
    RWP,
    UP_TO_5_18,
    WP,
    load,
)

if TYPE_CHECKING:
    from forktrace.kernel.btf import Btf
    from forktrace.kernel.decision import Side

NAMES = FlagNames()
MIXED = Rule(FROM_6_0, "code")
NEW = Rule(FROM_7_3, "code")
IN_5_19: dict[int, Side] = {**UP_TO_5_18, WP: "dst"}


class FakeBtf:
    """A kernel whose BTF says this much."""

    def __init__(self, release: str) -> None:
        kernel = load(release)
        self._bits, self._layout = kernel.vma_bits, kernel.layout

    def enum_values(self, prefix: str, suffix: str = "") -> dict[str, int]:
        return dict(self._bits)

    def offset(self, struct: str, member: str, size: int) -> int:
        return int(getattr(self._layout, member))


def btf(release: str) -> Btf:
    return cast("Btf", FakeBtf(release))


class TestDeciding:
    def test_masks(self) -> None:
        assert NEW.mask == NEW.dst_mask == 0x80010001C00
        assert (MIXED.dst_mask, MIXED.src_mask) == (0x1000, 0x10000400)

    def test_a_bit_counts_only_in_the_vma_that_is_asked(self) -> None:
        """Shmem with uffd-wp on 7.3.4, without EVENT_FORK and with it."""
        assert NEW.trigger_bits(0x80010FB, 0x80000FB) == 0
        assert NEW.trigger_bits(0x80010FB, 0x80010FB) == 1 << WP

    def test_old_kernels_ask_src_for_some_and_dst_for_others(self) -> None:
        assert MIXED.trigger_bits(src_flags=1 << PFNMAP, dst_flags=0) == 1 << PFNMAP
        assert MIXED.trigger_bits(src_flags=0, dst_flags=1 << PFNMAP) == 0
        assert MIXED.trigger_bits(src_flags=1 << WP, dst_flags=0) == 0


class TestNaming:
    def test_triggers_are_named_in_bit_order(self) -> None:
        bits = 1 << MIXEDMAP | 1 << PFNMAP
        assert NEW.trigger_name(bits, NAMES) == "pfnmap+mixedmap"
        assert NEW.trigger_name(0, NAMES) == "anon_vma"

    @pytest.mark.parametrize(
        ("bits", "words"),
        [
            (
                FROM_6_19,
                "copy if dst has PFNMAP|MIXEDMAP|UFFD_WP|MAYBE_GUARD, "
                "or src has an anon_vma",
            ),
            (
                FROM_6_0,
                "copy if dst has UFFD_WP, or src has PFNMAP|MIXEDMAP, "
                "or src has an anon_vma",
            ),
            (
                {**FROM_7_3, 55: "dst"},
                "copy if dst has PFNMAP|MIXEDMAP|UFFD_WP|MAYBE_GUARD|UFFD_RWP|BIT_55, "
                "or src has an anon_vma",
            ),
        ],
    )
    def test_words(self, bits: dict[int, Side], words: str) -> None:
        assert Rule(bits, "code").words(NAMES) == words

    def test_json(self) -> None:
        assert MIXED.to_json(NAMES) == {
            "mask": "0x10001400",
            "bits": {"pfnmap": "src", "uffd_wp": "dst", "mixedmap": "src"},
            "read_from": "code",
        }


class TestTable:
    @pytest.mark.parametrize(
        ("release", "bits"),
        [
            ("5.10.0-46-cloud-amd64", UP_TO_5_18),
            ("5.18.19", UP_TO_5_18),
            ("5.19.1", IN_5_19),
            ("6.0.0", FROM_6_0),
            ("6.18.36", FROM_6_0),
            ("6.18.37", FROM_6_19),
            ("6.19.0-rc6-next", dict.fromkeys(FROM_6_19, "src")),
            ("6.19-rc1", dict.fromkeys(FROM_6_19, "src")),
            ("6.19-rc7", FROM_6_19),
            ("6.19.0", FROM_6_19),
            ("7.2.12", FROM_6_19),
            ("7.3.4", FROM_7_3),
            ("8.0.0", FROM_7_3),
        ],
    )
    def test_each_release(self, release: str, bits: dict[int, Side]) -> None:
        assert rule_of_release(release) == Rule(bits, "table")

    @pytest.mark.parametrize("release", AS_RELEASED)
    def test_it_agrees_with_the_code_of_real_kernels(self, release: str) -> None:
        assert rule_of_release(release).bits == EXPECTED[release][0]


class TestBtf:
    @pytest.mark.parametrize("release", AS_RELEASED)
    def test_it_agrees_with_the_code_or_is_silent(self, release: str) -> None:
        rule = rule_from_btf(btf(release), release)
        if release < "6.19":
            assert rule is None
        else:
            assert rule == Rule(EXPECTED[release][0], "btf")

    def test_early_candidates_of_6_19_ask_src(self) -> None:
        rule = rule_from_btf(btf("6.19.14+deb13-cloud-amd64"), "6.19.0-rc4")
        assert rule == Rule(dict.fromkeys(FROM_6_19, "src"), "btf")


class TestReadRule:
    def symbols(self, release: str) -> Symbols:
        text = load(release).function
        symbol = Symbol(text.name, text.address, len(text.code))
        return Symbols({text.name: symbol})

    @pytest.mark.parametrize(
        "release", ["6.12.117+deb13-cloud-amd64", "7.3.4+deb13-amd64"]
    )
    def test_code_comes_first(self, release: str) -> None:
        kernel = load(release)
        reading = read_rule(
            btf(release),
            # A backport: the release alone would tell another rule.
            self.symbols(release),
            "5.10.0",
            "x86_64",
            lambda symbol: kernel.function,
        )
        assert reading.rule == Rule(EXPECTED[release][0], "code")
        assert reading.branches == EXPECTED[release][1]
        assert reading.reason == ""

    @pytest.mark.parametrize(
        ("release", "source"),
        [("6.12.117+deb13-cloud-amd64", "table"), ("7.3.4+deb13-amd64", "btf")],
    )
    def test_unreadable_code_falls_back_and_says_why(
        self, release: str, source: str
    ) -> None:
        def closed(symbol: Symbol) -> Text:
            raise Unreadable("kcore is closed")

        reading = read_rule(
            btf(release), self.symbols(release), release, "x86_64", closed
        )
        assert reading.rule.read_from == source
        assert reading.rule.bits == EXPECTED[release][0]
        assert reading.branches == ()
        assert reading.reason == "kcore is closed"

    def test_another_architecture_falls_back(self) -> None:
        reading = read_rule(None, Symbols(), "6.1.0", "riscv64")
        assert reading.rule == Rule(FROM_6_0, "table")
        assert "riscv64" in reading.reason


def test_the_bits_are_the_kernels() -> None:
    bits = load("7.3.4+deb13-amd64").vma_bits
    expected = {"PFNMAP": PFNMAP, "MAYBE_GUARD": GUARD, "UFFD_WP": WP}
    expected |= {"HUGETLB": HUGETLB, "MIXEDMAP": MIXEDMAP, "UFFD_RWP": RWP}
    assert {name: bits[f"VMA_{name}_BIT"] for name in expected} == expected
