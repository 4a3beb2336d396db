"""What differs between the architectures of guests: packages, QEMU, serial ports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One architecture that guests can have.

    ``debian`` is its name in Debian's packages, ``machine`` that of uname, ``suffix``
    what a kernel's name has behind its series. ``console`` and ``output`` are the
    guest's two serial ports. ``native``: a guest uses this machine's own programs;
    the others get a root of their own. ``second_port`` is how QEMU is given the
    chardev serial1.
    """

    debian: str
    machine: str
    suffix: str
    native: bool
    qemu: str
    qemu_package: str
    options: tuple[str, ...]
    console: str
    output: str
    second_port: tuple[str, ...]


AMD64 = Architecture(
    debian="amd64",
    machine="x86_64",
    suffix="",
    native=True,
    qemu="qemu-system-x86_64",
    qemu_package="qemu-system-x86",
    # 6.12 panics where it finds five levels of page tables in QEMU.
    options=("-cpu", "max,la57=off", "-machine", "pc,memory-backend=memory"),
    console="ttyS0",
    output="ttyS1",
    second_port=("-serial", "chardev:serial1"),
)
ARM64 = Architecture(
    debian="arm64",
    machine="aarch64",
    suffix="-arm64",
    native=False,
    qemu="qemu-system-aarch64",
    qemu_package="qemu-system-arm",
    # Signing pointers as the architecture says takes QEMU half of its time.
    options=(
        *("-cpu", "max,pauth-impdef=on"),
        *("-machine", "virt,memory-backend=memory"),
    ),
    console="ttyAMA0",
    output="ttyS0",
    # The board has but one of its own.
    second_port=("-device", "pci-serial,chardev=serial1"),
)
ALL = (AMD64, ARM64)


def architecture_of(name: str) -> Architecture:
    """Return the architecture that the name of a kernel's series stands for."""
    return ARM64 if ARM64.suffix in name else AMD64
