"""What a guest is started with, and which of its last words are passed on."""

from __future__ import annotations

from pathlib import Path

from tests.lab.architectures import ARM64
from tests.lab.kernels import Kernel
from tests.lab.vm import CONSOLE_LINES, Machine, qemu_options, telling_lines

KERNEL = Kernel("7.3", Path("/boot/vmlinuz"))


def options(machine: Machine, kernel: Kernel = KERNEL) -> str:
    shares = {"host": 4, "results": 5}
    return " ".join(qemu_options(kernel, machine, 3, shares, (6, 7)))


def test_a_guest_has_what_its_machine_says() -> None:
    line = options(Machine(smp=3, memory=512, cmdline="nokaslr"))
    assert "-smp 3 " in line
    assert "-m 512M " in line
    assert "size=512M,share=on" in line
    assert line.endswith(" nokaslr")


def test_counting_instructions_takes_one_cpu() -> None:
    line = options(Machine(smp=4, icount=True))
    assert "-icount shift=0,sleep=on -smp 1 " in line
    assert "-smp 4" not in line


def test_every_share_and_both_serial_ports_are_connected() -> None:
    line = options(Machine())
    for tag, fd in (("host", 4), ("results", 5)):
        assert f"-chardev socket,id={tag},fd={fd} " in line
        assert f"vhost-user-fs-pci,chardev={tag},tag={tag}" in line
    assert "id=serial0,fd=6 -chardev socket,id=serial1,fd=7 " in line
    assert "-serial chardev:serial0 -serial chardev:serial1 " in line


def test_the_two_ports_of_arm64_are_of_different_kinds() -> None:
    line = options(Machine(), Kernel("7.3-arm64", Path("/boot/Image"), arch=ARM64))
    assert "-machine virt," in line
    assert "console=ttyAMA0 " in line
    assert "-serial chardev:serial0 -device pci-serial,chardev=serial1 " in line


def test_an_error_starts_at_the_line_that_names_the_cause() -> None:
    console = ["booting"] * 30 + ["Oops: int3: 0000"] + ["registers"] * 40
    lines = telling_lines("\n".join(console))
    assert lines[0] == "Oops: int3: 0000"
    assert len(lines) == CONSOLE_LINES


def test_a_console_without_a_cause_is_shown_by_its_end() -> None:
    lines = telling_lines("\n".join(str(number) for number in range(100)))
    assert lines[-1] == "99"
    assert len(lines) == CONSOLE_LINES
