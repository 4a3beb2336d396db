"""What differs between architectures: one module each, all with the same members."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

_MODULES = {"x86_64": "x86_64", "aarch64": "arm64"}


class Architecture(Protocol):
    """How one architecture calls and returns, for the emulator.

    ``uc`` is Unicorn's machine, which is imported only where code is run.
    """

    def machine(self) -> Any:
        """Return a new Unicorn machine."""

    def enter(self, uc: Any, pc: int, sp: int, back: int, tls: int) -> None:
        """Set the machine up as after a call of ``pc`` that returns to ``back``."""

    def arguments(self, uc: Any, first: int, second: int) -> None:
        """Pass two pointers."""

    def scratch(self, uc: Any, values: Iterator[int]) -> None:
        """Give all registers that hold no argument other values."""

    def result(self, uc: Any) -> int:
        """Return the int that the function returned, as an unsigned number."""

    def pc(self, uc: Any) -> int:
        """Return the program counter."""

    def jump(self, uc: Any, address: int) -> None:
        """Go on at another address."""

    def leave(self, uc: Any) -> int:
        """Undo the call that just happened, and return where its caller goes on."""

    def is_call(self, instruction: bytes) -> bool:
        """Tell whether it is a direct call."""

    def is_patch(self, instruction: bytes) -> bool:
        """Tell whether it is a breakpoint, or a jump such as probes put there."""

    def ends(self, instruction: bytes) -> bool:
        """Tell whether what lies behind an instruction never follows it."""

    def choice(self, instruction: bytes) -> int | None:
        """Return by what an instruction chooses what it does, None if it does not.

        ``holds`` and ``turn`` know the number; what chooses are conditional jumps, and
        all that makes of the processor's flags a value.
        """

    def holds(self, uc: Any, choice: int) -> bool:
        """Tell whether the condition of the instruction that comes next holds."""

    def turn(self, uc: Any, choice: int) -> None:
        """Make that condition hold if it does not, and the other way round."""

    def numbers(self, instructions: Iterable[bytes]) -> set[int]:
        """Return the numbers that instructions calculate with, as signed ones."""

    def jumps(self, code: bytes, address: int) -> Iterator[tuple[int, int]]:
        """Yield all (address, target) that may be direct jumps in ``code``."""

    def calls(self, code: bytes, address: int) -> Iterator[tuple[int, int]]:
        """Yield all (address, target) that may be direct calls in ``code``."""

    def without_tracers(self, code: bytes, address: int) -> bytes:
        """Return the code without what ftrace put at the function's entry."""


def architecture(machine: str) -> Architecture | None:
    """Return the module of a machine as in uname, None when there is none."""
    name = _MODULES.get(machine)
    if name is None:
        return None
    return cast(Architecture, importlib.import_module(f"{__name__}.{name}"))
