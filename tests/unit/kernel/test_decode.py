"""The decoder reads the rule of every kernel there is, or says that it cannot.

The code of each kernel is real; see ``fixtures`` for how it was captured.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from forktrace.kernel.arch import Architecture, architecture
from forktrace.kernel.decision import Decision, Undecodable
from forktrace.kernel.decode import decode, read_decision
from forktrace.kernel.emulation import Emulator, Layout, Vmas
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import Text
from tests.unit.kernel.fixtures import (
    EXPECTED,
    FOLDER,
    FROM_6_19,
    MIXEDMAP,
    PFNMAP,
    Kernel,
    load,
)
from tests.unit.kernel.patches import PATCHES, Patches, patch

if TYPE_CHECKING:
    from forktrace.kernel.btf import Btf
    from forktrace.kernel.decision import Side

FLAGS, ANON = 0x20, 0x40
LAYOUT = Layout(FLAGS, ANON)
X86 = cast(Architecture, architecture("x86_64"))
ARM64 = cast(Architecture, architecture("aarch64"))


@pytest.fixture(params=sorted(EXPECTED))
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return load(request.param)


@pytest.fixture(
    params=[
        "5.10.0-46-cloud-amd64",
        "6.12.117+deb13-cloud-amd64",
        "7.3.4+deb13-cloud-amd64",
        "7.3.4-isra",
        "7.3.4+deb13-cloud-arm64",
    ]
)
def shape(request: pytest.FixtureRequest) -> Kernel:
    """Return one kernel of each shape, for what takes many decodings."""
    return load(request.param)


def truth(kernel: Kernel) -> Decision:
    """Return what decoding it as it was captured finds, too."""
    return Decision(*EXPECTED[kernel.name])


def patches(kernel: Kernel) -> Patches:
    return PATCHES[kernel.machine]


def patch_entry(kernel: Kernel, new: bytes) -> bytes:
    code = kernel.function.code
    return patch(code, patches(kernel).entry_of(code), new)


def patch_branches(kernel: Kernel, code: bytes, probe: bytes) -> bytes:
    for place in EXPECTED[kernel.name][1]:
        code = patch(code, place, probe)
    return code


def instruction_starts(kernel: Kernel) -> set[int]:
    """Return where instructions begin that run before the decision has been made."""
    arch = architecture(kernel.machine)
    assert arch
    texts = (kernel.function, *kernel.callees)
    emulator = Emulator(arch, texts, kernel.layout, kernel.thunks)
    places = set()
    for bit in range(64):
        for vmas in (Vmas(dst_flags=1 << bit), Vmas(src_flags=1 << bit)):
            places |= set(emulator.call(vmas).trace)
    first = kernel.function.address
    return {at - first for at in places if kernel.function.holds(at)}


def test_every_captured_kernel_is_expected() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXPECTED)


def test_the_rule_and_the_path_that_copies_are_those_of_the_sources(
    kernel: Kernel,
) -> None:
    assert kernel.decode() == truth(kernel)


class TestPatchedAtBoot:
    """What a kernel for arm64 makes of itself while it boots."""

    def test_a_shadow_call_stack_changes_nothing(self) -> None:
        """Dynamic ones, on processors that cannot sign return addresses (6.2)."""
        kernel = load("7.3.4+deb13-cloud-arm64")
        sign, push = bytes.fromhex("3f2303d5"), bytes.fromhex("5e8600f8")
        check, pop = bytes.fromhex("bf2303d5"), bytes.fromhex("5e8e5ff8")
        code = kernel.function.code
        assert code.count(sign) == 1 <= code.count(check)
        code = code.replace(sign, push).replace(check, pop)
        assert kernel.decode(code) == truth(kernel)

    def test_a_landing_pad_before_the_nops_changes_nothing(self) -> None:
        """As CONFIG_ARM64_BTI_KERNEL has it: hint #34, "bti c"."""
        kernel = load("7.3.4+deb13-cloud-arm64")
        landing = bytes.fromhex("5f2403d5")
        moved = kernel.function._replace(address=kernel.function.address - 4)
        kernel = replace(kernel, function=moved)
        for call in (b"", *patches(kernel).calls):
            code = landing + patch(kernel.function.code, 0, call)
            found = kernel.decode(code)
            assert found.bits == EXPECTED[kernel.name][0]
            assert found.branches == (EXPECTED[kernel.name][1][0] + 4,)


class TestInstructions:
    def test_a_long_call_before_does_not_change_where_they_begin(self) -> None:
        kernel = load("7.3.4+deb13-cloud-amd64")
        forever = Text("spins", kernel.function.address, bytes.fromhex("ebfe"))
        spinning = Emulator(X86, (forever,), LAYOUT)
        assert len(spinning.call(Vmas()).trace) > 100
        assert spinning.starts(forever) == {forever.address}


class TestOtherTracers:
    """They change nothing, which takes many decodings: not all of every kernel."""

    def test_whatever_ftrace_has_at_the_entry_it_is_the_same_code(
        self, kernel: Kernel
    ) -> None:
        """What decoding finds with one of them, it finds with all."""
        arch = architecture(kernel.machine)
        assert arch
        found, address = patches(kernel), kernel.function.address
        entries = (found.idle, *found.calls, found.breakpoint)
        codes = [patch_entry(kernel, each) for each in entries]
        assert len({arch.without_tracers(code, address) for code in codes}) == 1

    def test_another_forktrace_at_work_changes_nothing(self, kernel: Kernel) -> None:
        """An fexit program, another forktrace's say, may be reached by a jump."""
        for call, probe in zip(patches(kernel).calls, patches(kernel).probes):
            code = patch_branches(kernel, patch_entry(kernel, call), probe)
            assert kernel.decode(code) == truth(kernel)

    def test_what_ftrace_has_at_the_entry_changes_nothing(self, shape: Kernel) -> None:
        found = patches(shape)
        for written in (found.idle, *found.calls, found.breakpoint):
            assert shape.decode(patch_entry(shape, written)) == truth(shape)

    def test_a_probe_on_the_branch_changes_nothing(self, shape: Kernel) -> None:
        """Our own witness may be there when the code is read again."""
        for probe in patches(shape).probes:
            code = patch_branches(shape, shape.function.code, probe)
            assert shape.decode(code) == truth(shape)

    def test_a_kprobe_and_ftrace_at_the_entry_of_arm64_change_nothing(self) -> None:
        """The breakpoint takes the place of the first of ftrace's instructions."""
        kernel = load("7.3.4+deb13-cloud-arm64")
        code = patch_entry(kernel, patches(kernel).calls[0])
        code = patch(code, 0, patches(kernel).breakpoint)
        assert kernel.decode(code) == truth(kernel)

    def test_a_probe_anywhere_else_changes_nothing_or_is_seen(
        self, shape: Kernel
    ) -> None:
        expected = truth(shape)
        places = [at for at in instruction_starts(shape) if at < max(expected.branches)]
        for probe in patches(shape).probes:
            for place in places:
                with contextlib.suppress(Undecodable):
                    code = patch(shape.function.code, place, probe)
                    assert shape.decode(code).bits == expected.bits, hex(place)


class TestBrokenCode:
    def test_truncated_code_is_refused_or_holds_all_that_decides(
        self, shape: Kernel
    ) -> None:
        expected = truth(shape)
        for size in range(expected.branches[0]):
            with contextlib.suppress(Undecodable):
                code = shape.function.code[:size]
                assert shape.decode(code) == Decision(expected.bits, ())

    def test_flipped_bits_never_crash(self, shape: Kernel) -> None:
        code = shape.function.code
        # A dozen of all bytes, as each decoding is slow. The fuzzer does more.
        end = max(truth(shape).branches) + 16
        for place in range(0, end, max(7, end // 12)):
            flipped = patch(code, place, bytes([code[place] ^ 1 << place % 8]))
            with contextlib.suppress(Undecodable):
                bits = shape.decode(flipped).bits
                assert {PFNMAP, MIXEDMAP} <= set(bits)

    def test_garbage_is_refused(self) -> None:
        source = random.Random(23)
        for arch in (X86, ARM64):
            for _ in range(100):
                text = Text("garbage", 0x1000, source.randbytes(200))
                with pytest.raises(Undecodable):
                    decode(arch, (text,), LAYOUT)

    def test_wrong_offsets_are_refused(self, kernel: Kernel) -> None:
        layout = kernel.layout
        for wrong in (
            layout._replace(vm_flags=layout.vm_flags + 0x100),
            layout._replace(anon_vma=layout.anon_vma + 8),
        ):
            with pytest.raises(Undecodable):
                replace(kernel, layout=wrong).decode()

    def test_a_split_function_without_its_callee_is_refused(self) -> None:
        kernel = load("7.3.4-symbol")
        with pytest.raises(Undecodable):
            replace(kernel, callees=()).decode()


class FakeBtf:
    """Offsets alone: what ``read_decision`` asks of BTF."""

    def offset(self, struct: str, member: str, size: int) -> int:
        return {"vm_flags": FLAGS, "anon_vma": ANON}[member]


def unread(symbol: Symbol) -> Text:
    raise AssertionError(f"{symbol.name} was read")


class TestReadDecision:
    """What is looked up where, with a kernel's text in a dictionary."""

    def read(
        self, name: str, machine: str = "x86_64", btf: Btf | None = None
    ) -> object:
        kernel = load(name)
        texts = {t.address: t for t in (kernel.function, *kernel.callees)}
        symbols = Symbols(
            {t.name: Symbol(t.name, t.address, len(t.code)) for t in texts.values()}
        )
        return read_decision(
            btf or FakeBtf(),  # type: ignore[arg-type]
            symbols,
            machine,
            lambda symbol: texts[symbol.address],
        )

    @pytest.mark.parametrize("name", ["7.3.4-symbol", "7.3.4-isra"])
    def test_every_part_of_a_split_function_is_read(self, name: str) -> None:
        assert self.read(name) == load(name).decode()

    def test_another_architecture_is_named(self) -> None:
        with pytest.raises(Undecodable, match="riscv64"):
            self.read("7.3.4-symbol", machine="riscv64")

    def test_no_symbol_is_a_reason(self) -> None:
        with pytest.raises(Undecodable, match="copy_page_range"):
            read_decision(
                FakeBtf(),  # type: ignore[arg-type]
                Symbols(),
                "x86_64",
                unread,
            )

    def test_no_btf_is_a_reason(self) -> None:
        with pytest.raises(Undecodable, match="BTF"):
            read_decision(None, Symbols(), "x86_64", unread)


class TestOtherRules:
    """Rules that no kernel has, compiled by GCC 12.2 -O2 from the C in each name."""

    def decode(self, code: str) -> dict[int, Side]:
        text = Text("copy_page_range", 0x1000, bytes.fromhex(code))
        return dict(decode(X86, (text,), LAYOUT).bits)

    def test_the_smallest_function_with_the_rule_of_6_19(self) -> None:
        """``if (!(dst->vm_flags & mask) && !src->anon_vma) return 0``."""
        assert (
            self.decode(
                "48f74720001c0010750748837e400074174883ec08e800000000"
                "b8010000004883c408c30f1f400031c0c3"
            )
            == FROM_6_19
        )

    def test_one_more_condition_is_refused(self) -> None:
        """``... && !(src->anon_vma && src->vm_mm)``."""
        with pytest.raises(Undecodable):
            self.decode(
                "48f74720001c0010750e48837e4000741f48837e100074184883ec08e800000000"
                "b8010000004883c408c30f1f44000031c0c3"
            )

    def test_part_of_the_anon_vma_pointer_is_refused(self) -> None:
        """``... && !((unsigned long)src->anon_vma & 3)``."""
        with pytest.raises(Undecodable):
            self.decode(
                "48f7472000040010750831c0f646400374164883ec08e800000000"
                "b8010000004883c408c30f1f00c3"
            )

    def test_a_bit_that_must_be_set_to_skip_is_refused(self) -> None:
        """``... && (src->vm_flags & VM_EXEC) && !src->anon_vma``."""
        with pytest.raises(Undecodable):
            self.decode(
                "48f7472000040010750df6462004740748837e400074194883ec08e800000000"
                "b8010000004883c408c3660f1f44000031c0c3"
            )

    def test_a_variable_beside_a_return_thunk_changes_nothing(self) -> None:
        """It reads what lies in the same page as the thunk by which it returns."""
        code = bytes.fromhex(
            "8b05fc1f000048f74720001c0010750748837e4000740ae8e51f0000e9df"
            "1f000031c0e9d81f000000"
        )
        text = Text("copy_page_range", 0x1000, code)
        assert decode(X86, (text,), LAYOUT, frozenset({0x3000})).bits == FROM_6_19
