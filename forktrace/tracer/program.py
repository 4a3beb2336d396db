"""Compile and load bpf/forktrace.c with BCC.

No kernel headers are needed: bpf/include holds the few BCC asks for, and what differs
between kernels is passed in as macros.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError, Unsupported

_HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Loaded:
    """File descriptors of what stands in the kernel now; closing them removes it."""

    maps: Mapping[str, int]
    programs: Mapping[str, int]

    def fds(self) -> list[int]:
        """Return every descriptor: those of the maps, then those of the programs."""
        return [*self.maps.values(), *self.programs.values()]

    def with_fds(self, fds: Sequence[int]) -> Loaded:
        """Return the same with the numbers that ``fds`` have in this process."""
        named = iter(fds)
        return Loaded(
            maps={name: next(named) for name in self.maps},
            programs={name: next(named) for name in self.programs},
        )

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self.fds():
            os.close(fd)


def bpf_folder() -> Path:
    """Return the folder of forktrace.c, in a checkout or in an installed wheel."""
    for folder in (_HERE.parents[1] / "bpf", _HERE.parents[2] / "bpf"):
        if (folder / "forktrace.c").is_file():
            return folder
    raise ForktraceError(
        "forktrace's own BPF program (bpf/forktrace.c) is missing.",
        "Install forktrace again.",
    )


def source(macros: Mapping[str, str]) -> str:
    """Return the C text that is compiled: ``macros`` (name or name(args)) first."""
    lines = [f"#define {name} {value}\n" for name, value in macros.items()]
    return "".join(lines) + (bpf_folder() / "forktrace.c").read_text()


def load(text: str, programs: Mapping[str, str], maps: Sequence[str]) -> Loaded:
    """Compile ``text`` and load ``programs`` (function name to BCC program type).

    Raises Unsupported when the kernel or the distribution's bcc cannot; the compiler's
    and the verifier's log go to stderr. Call it in a short-lived child: it maps some
    75 MB of LLVM for good.
    """
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    os.environ["BCC_PROBE_PREFIX"] = "forktrace"
    try:
        bpf = _compile(text)
        return Loaded(
            maps={name: bpf[name.encode()].get_fd() for name in maps},
            programs={
                name: bpf.load_func(_function(bpf, name), getattr(bpf, kind)).fd
                for name, kind in programs.items()
            },
        )
    except Exception as error:
        raise Unsupported(
            f"The BPF program cannot be loaded: {_one_line(error)}",
            "Run with --debug to see the compiler's and the verifier's log.",
        ) from None


def _compile(text: str) -> Any:
    """Return the compiled module; BCC attaches nothing by itself."""
    import bcc  # noqa: PLC0415 - LLVM stays in a child

    class Module(bcc.BPF):  # type: ignore[misc]
        """BCC attaches functions with known prefixes at once; attach.py does it."""

        def _trace_autoload(self) -> None:
            pass

        def module_has(self, name: bytes) -> bool:
            """Tell whether the text defines a program of that name."""
            return bool(bcc.lib.bpf_function_start(self.module, name))

    return Module(text=text.encode())


def _function(bpf: Any, name: str) -> bytes:
    """Return what BCC calls a program: kfunc__f is kfunc__vmlinux__f since 0.27."""
    prefix, _, function = name.partition("__")
    return next(
        candidate.encode()
        for candidate in (name, f"{prefix}__vmlinux__{function}")
        if bpf.module_has(candidate.encode())
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
