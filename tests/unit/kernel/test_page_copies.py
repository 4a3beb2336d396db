"""Where a copied page's rmap is called for, in the code of real kernels."""

from __future__ import annotations

import pytest

from forktrace.kernel.page_copies import find_page_copies
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import Text, Unreadable
from tests.unit.kernel.fixtures import Kernel, load

# How far behind copy_page_range the function lies that gives a page its rmap, its name
# there, and the call's place: read off the kernels' symbols and disassembly by eye.
KNOWN = {
    "5.10.0-46-cloud-amd64": (0x13FF0, "page_add_new_anon_rmap", 0xC83),
    "7.3.4+deb13-cloud-amd64": (0x1B4B0, "folio_add_new_anon_rmap", 0x103B),
    "7.3.4+deb13-cloud-arm64": (0x1C7A0, "folio_add_new_anon_rmap", 0x11EC),
    "7.3.4-clang-cfi": (0x217A0, "folio_add_new_anon_rmap", 0x13E0),
}


def symbols(kernel: Kernel, rmap: str, address: int) -> Symbols:
    function = kernel.function
    known = Symbol("copy_page_range", function.address, len(function.code))
    return Symbols({"copy_page_range": known, rmap: Symbol(rmap, address, 64)})


@pytest.mark.parametrize("release", KNOWN)
def test_the_one_call_is_found(release: str) -> None:
    kernel = load(release)
    distance, rmap, offset = KNOWN[release]
    known = symbols(kernel, rmap, kernel.function.address + distance)
    found = find_page_copies(known, kernel.machine, lambda _: kernel.function)
    assert found == (("copy_page_range", offset),)


def test_a_probe_on_the_call_hides_nothing() -> None:
    """As that of another forktrace."""
    kernel = load("7.3.4+deb13-cloud-amd64")
    distance, rmap, offset = KNOWN[kernel.name]
    known = symbols(kernel, rmap, kernel.function.address + distance)
    code = bytearray(kernel.function.code)
    assert code[offset] == 0xE8
    code[offset] = 0xCC
    probed = kernel.function._replace(code=bytes(code))
    found = find_page_copies(known, kernel.machine, lambda _: probed)
    assert found == (("copy_page_range", offset),)


@pytest.mark.parametrize("aside", [-16, 4])
def test_a_call_may_go_a_little_aside(aside: int) -> None:
    kernel = load("7.3.4+deb13-cloud-amd64")
    at = kernel.function.address + KNOWN[kernel.name][0] - aside
    known = symbols(kernel, "folio_add_new_anon_rmap", at)
    assert find_page_copies(known, kernel.machine, lambda _: kernel.function)


def test_what_is_not_inlined_is_looked_through_as_well() -> None:
    kernel = load("7.3.4+deb13-cloud-amd64")
    code, (distance, rmap, offset) = kernel.function.code, KNOWN[kernel.name]
    address = kernel.function.address
    inner = Symbol("copy_pte_range.isra.0", address + 0x1000, len(code) - 0x1000)
    outer = Symbol("copy_page_range", address, 0x1000)
    known = {each.name: each for each in (inner, outer)}
    known[rmap] = Symbol(rmap, address + distance, 64)

    def read(symbol: Symbol) -> Text:
        at = symbol.address - address
        return Text(symbol.name, symbol.address, code[at : at + symbol.size])

    assert find_page_copies(Symbols(known), kernel.machine, read) == (
        ("copy_pte_range.isra.0", offset - 0x1000),
    )


def test_hidden_addresses_tell_nothing() -> None:
    """Without sizes the code read could be that of the functions behind it."""
    kernel = load("7.3.4+deb13-cloud-amd64")
    names = (kernel.function.name, KNOWN[kernel.name][1])
    hidden = Symbols({name: Symbol(name, 0, 0) for name in names})
    assert find_page_copies(hidden, kernel.machine, lambda _: kernel.function) == ()


def test_code_that_cannot_be_read_tells_nothing() -> None:
    def closed(_: Symbol) -> Text:
        raise Unreadable("closed")

    kernel = load("7.3.4+deb13-cloud-amd64")
    distance, rmap, _ = KNOWN[kernel.name]
    known = symbols(kernel, rmap, kernel.function.address + distance)
    assert find_page_copies(known, kernel.machine, closed) == ()
    assert find_page_copies(known, "riscv64", lambda _: kernel.function) == ()
    assert find_page_copies(Symbols({}), "x86_64", lambda _: kernel.function) == ()
