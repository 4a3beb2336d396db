"""Compile and load bpf/forktrace.c with BCC, and hand over what was loaded.

BCC maps some 75 MB of LLVM, which Python never gives back. So the work is done in a
short-lived child: it compiles, loads, and passes the file descriptors of maps and
programs back over a Unix socket. The tracer itself never imports bcc.

No kernel headers are needed: bpf/include holds the few BCC asks for, and what differs
between kernels is passed in as macros.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forktrace.errors import ForktraceError, Unsupported

LOAD_SECONDS = 60.0
"""How long compiling and loading may take before it counts as hung."""

_HERE = Path(__file__).resolve()
_MAX_FDS = 64


@dataclass(frozen=True)
class Loaded:
    """File descriptors of what stands in the kernel now; closing them removes it."""

    maps: Mapping[str, int]
    programs: Mapping[str, int]

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.maps.values(), *self.programs.values()):
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


def load(text: str, programs: Mapping[str, str], maps: tuple[str, ...]) -> Loaded:
    """Compile ``text`` and load ``programs`` (function name to BCC program type).

    Raises Unsupported when the kernel or the distribution's bcc cannot, with the
    compiler's and the verifier's log as details.
    """
    ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.memfd_create("forktrace-bcc")
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(childs, log, text, programs, maps)
    childs.close()
    try:
        ours.settimeout(LOAD_SECONDS)
        message, fds, _, _ = socket.recv_fds(ours, 65536, _MAX_FDS)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise ForktraceError(
            f"Compiling the BPF program took more than {LOAD_SECONDS:.0f} s.",
            "The host may be overloaded; try again, or with --debug.",
        ) from None
    finally:
        ours.close()
        os.waitpid(pid, 0)
        details = os.pread(log, 1 << 20, 0).decode(errors="replace")
        os.close(log)
    answer = json.loads(message) if message else {"error": "BCC died."}
    if "error" in answer:
        raise Unsupported(
            f"The BPF program cannot be loaded: {answer['error']}",
            "Run with --debug to see the compiler's and the verifier's log.",
            details=details,
        )
    names = answer["maps"] + answer["programs"]
    by_name = dict(zip(names, fds))
    return Loaded(
        maps={name: by_name[name] for name in answer["maps"]},
        programs={name: by_name[name] for name in answer["programs"]},
    )


def _child(
    reply: socket.socket,
    log: int,
    text: str,
    programs: Mapping[str, str],
    maps: tuple[str, ...],
) -> None:
    """Compile, load, send the descriptors and end, whatever happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    os.environ["BCC_PROBE_PREFIX"] = "forktrace"
    fds: list[int] = []
    try:
        bpf = _compile(text)
        fds += [bpf[name.encode()].get_fd() for name in maps]
        fds += [
            bpf.load_func(_function(bpf, name), getattr(bpf, kind)).fd
            for name, kind in programs.items()
        ]
        answer: dict[str, Any] = {"maps": list(maps), "programs": list(programs)}
    except BaseException as error:
        fds = []
        answer = {"error": _one_line(error)}
    try:
        sys.stdout.flush()
        socket.send_fds(reply, [json.dumps(answer).encode()], fds)
    finally:
        # Nobody may be there any more to hear it; never run on as a second parent.
        os._exit(0)


def _compile(text: str) -> Any:
    """Return the compiled module; BCC attaches nothing by itself."""
    import bcc  # noqa: PLC0415 - LLVM stays in this child

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
