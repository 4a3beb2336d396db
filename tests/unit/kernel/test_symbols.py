"""Functions and their variants are found in /proc/kallsyms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forktrace.kernel.symbols import Symbol, Symbols

if TYPE_CHECKING:
    from pathlib import Path

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000010 T __pfx_copy_page_range
ffffffff81000020 T copy_page_range
ffffffff81000020 t alias_at_the_same_address
ffffffff81000120 t copy_page_range.cold
ffffffff81000130 t vma_needs_copy.isra.0
ffffffff81000160 t vma_needs_copy.constprop.0.isra.1
ffffffff81000170 t vma_needs_copy.part.0.cold
ffffffff81000180 t vma_needs_copy_not
ffffffff81000190 D vma_needs_copy
ffffffffc0000000 t kernel_clone\t[evil]
ffffffffc0000010 t last
"""


def read(tmp_path: Path, text: str, *names: str) -> Symbols:
    path = tmp_path / "kallsyms"
    path.write_text(text)
    return Symbols.read(*names, path=str(path))


def test_an_address_and_the_distance_to_the_next(tmp_path: Path) -> None:
    symbols = read(tmp_path, KALLSYMS, "copy_page_range")
    expected = Symbol("copy_page_range", 0xFFFFFFFF81000020, 0x100)
    assert symbols.get("copy_page_range") == expected
    assert not expected.is_variant


def test_variants_are_functions_that_a_compiler_changed(tmp_path: Path) -> None:
    symbols = read(tmp_path, KALLSYMS, "vma_needs_copy")
    assert [s.name for s in symbols.variants("vma_needs_copy")] == [
        "vma_needs_copy.constprop.0.isra.1",
        "vma_needs_copy.isra.0",
    ]
    assert all(s.is_variant for s in symbols.variants("vma_needs_copy"))
    assert "vma_needs_copy" not in symbols


def test_the_function_itself_comes_before_its_variants(tmp_path: Path) -> None:
    text = KALLSYMS.replace(" D vma_needs_copy", " t vma_needs_copy")
    symbols = read(tmp_path, text, "vma_needs_copy")
    assert symbols.variants("vma_needs_copy")[0].name == "vma_needs_copy"


def test_a_modules_function_is_not_the_kernels(tmp_path: Path) -> None:
    assert "kernel_clone" not in read(tmp_path, KALLSYMS, "kernel_clone")


def test_hidden_addresses_are_zero(tmp_path: Path) -> None:
    hidden = "".join(f"{0:016x}{line[16:]}\n" for line in KALLSYMS.splitlines())
    symbols = read(tmp_path, hidden, "copy_page_range")
    assert symbols.get("copy_page_range") == Symbol("copy_page_range", 0, 0)


def test_a_long_file_is_read_in_pieces_without_losing_any(tmp_path: Path) -> None:
    names = [f"function_{i}" for i in range(60_000)]
    lines = [f"{0x1000 + 16 * i:016x} t {name}" for i, name in enumerate(names)]
    asked = names[::997] + names[-1:]
    symbols = read(tmp_path, "\n".join(lines) + "\n", *asked)
    assert set(symbols.found) == set(asked)
    assert {s.size for s in symbols.found.values()} == {16, 0}
    assert symbols.found[names[-1]].size == 0


def test_this_kernels_own() -> None:
    symbols = Symbols.read("copy_page_range", "no_such_function_23")
    assert "copy_page_range" in symbols
    assert "no_such_function_23" not in symbols


class TestNames:
    def test_what_was_asked_for_is_known(self, tmp_path: Path) -> None:
        symbols = read(tmp_path, KALLSYMS, "copy_page_range")
        (tmp_path / "kallsyms").unlink()
        assert symbols.name_at(0xFFFFFFFF81000020) == "copy_page_range"

    def test_all_else_has_none(self, tmp_path: Path) -> None:
        symbols = read(tmp_path, KALLSYMS, "copy_page_range")
        assert symbols.name_at(0xFFFFFFFFC0000010) == ""
        assert symbols.name_at(0xFFFFFFFF81000021) == ""

    def test_all_that_begin_alike_are_found(self, tmp_path: Path) -> None:
        symbols = read(tmp_path, KALLSYMS, "copy_*")
        assert "copy_page_range" in symbols
        assert {name[:5] for name in symbols.found} == {"copy_"}


def test_a_cold_part_is_no_function_but_is_found_with_it(tmp_path: Path) -> None:
    symbols = read(tmp_path, KALLSYMS, "copy_page_range", "vma_needs_copy")
    parts = symbols.cold_parts("copy_page_range", "vma_needs_copy")
    assert {part.name for part in parts} == {
        "copy_page_range.cold",
        "vma_needs_copy.part.0.cold",
    }
    assert symbols.variants("copy_page_range") == (symbols.get("copy_page_range"),)
