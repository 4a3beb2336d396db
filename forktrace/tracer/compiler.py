"""Compile bpf/forktrace.c with BCC: the only module that needs it.

No kernel headers are needed: bpf/include holds the few BCC asks for, and what differs
between kernels is passed in as macros.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError, Unsupported
from forktrace.libbpf import MapShape
from forktrace.tracer.objects import Code, Compiled

_HERE = Path(__file__).resolve()


def bpf_folder() -> Path:
    """Return the folder of forktrace.c, in a checkout or in an installed wheel."""
    for folder in (_HERE.parents[1] / "bpf", _HERE.parents[2] / "bpf"):
        if (folder / "forktrace.c").is_file():
            return folder
    raise ForktraceError(
        "forktrace's own BPF program (bpf/forktrace.c) is missing.",
        "Install forktrace again.",
    )


def source(macros: Mapping[str, str], name: str = "forktrace.c") -> str:
    """Return the C text that is compiled: ``macros`` (name or name(args)) first."""
    lines = [f"#define {name} {value}\n" for name, value in macros.items()]
    return "".join(lines) + (bpf_folder() / name).read_text()


def inputs(text: str) -> list[str]:
    """Return all that the result of ``compile_text`` hangs on, without importing BCC.

    A distribution that builds BCC again gives its files another time.
    """
    headers = [path.read_text() for path in sorted(bpf_folder().rglob("*.h"))]
    bcc = importlib.util.find_spec("bcc")
    built = os.stat(bcc.origin).st_mtime_ns if bcc and bcc.origin else 0
    return [text, *headers, platform.platform(), str(built)]


def compile_text(text: str) -> Compiled:
    """Return every map and program of ``text``; the log goes to stderr.

    Raises Unsupported. The maps that BCC makes meanwhile go with this process, which
    should be a short-lived child: some 75 MB of LLVM stay mapped for good.
    """
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    os.environ["BCC_PROBE_PREFIX"] = "forktrace"
    try:
        return _compile(text)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise refused(reason) from None


def refused(reason: str) -> Unsupported:
    """Return what to raise when a program can be compiled or loaded no further."""
    return Unsupported(
        f"The BPF program cannot be loaded: {reason}",
        "Run with --debug to see the compiler's and the verifier's log.",
    )


def _compile(text: str) -> Compiled:
    import bcc  # noqa: PLC0415 - LLVM stays in a child

    class Module(bcc.BPF):  # type: ignore[misc]
        """BCC attaches functions with known prefixes at once; attach.py does it."""

        def _trace_autoload(self) -> None:
            pass

    bpf: Any = Module(text=text.encode())
    lib, module = bcc.lib, ctypes.c_void_p(bpf.module)
    for name in (lib.bpf_table_name, lib.bpf_function_name):
        name.restype = ctypes.c_char_p
    fds = {
        lib.bpf_table_name(module, place).decode(): lib.bpf_table_fd_id(module, place)
        for place in map(ctypes.c_size_t, range(lib.bpf_num_tables(module)))
    }
    functions = [
        lib.bpf_function_name(module, place)
        for place in map(ctypes.c_size_t, range(lib.bpf_num_functions(module)))
    ]
    return Compiled(
        maps={name: MapShape.of(fd) for name, fd in fds.items()},
        programs={
            # kfunc__f is kfunc__vmlinux__f since BCC 0.27.
            name.decode().replace("__vmlinux__", "__"): Code.unlinked(
                bpf.dump_func(name), [*fds.values()]
            )
            for name in functions
        },
    )
