"""The compilers that the machine has, and the ways in which they build kernels."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ALWAYS = (
    *("-fno-strict-aliasing", "-fno-common", "-mno-red-zone", "-mno-sse"),
    *("-fno-delete-null-pointer-checks", "-fno-asynchronous-unwind-tables"),
    # Of a program that lies in the lowest 2 GiB, as a kernel does in the highest.
    *("-std=gnu11", "-fno-pie", "-fwrapv", "-w"),
)
# Many decisions come to the same: each shall be compiled nevertheless.
_GCC = ("-fno-ipa-icf", "-fno-allow-store-data-races", "-fconserve-stack")

SHADOW = 0x1800_0000_0000
"""Where KASAN's shadow lies in programs. The kernel's own place cannot be mapped."""

KASAN_SHADOW = 0xDFFF_FC00_0000_0000

_GUARD = "-mstack-protector-guard=tls -mstack-protector-guard-reg=gs"
_GUARD_OFFSET = "-mstack-protector-guard-offset=40"
_LESS = "-fno-jump-tables"

# Options of GCC and of clang, by what they are for. What a compiler does not know, it
# does not build.
_WAYS: dict[str, tuple[str, str]] = {
    "plain": (f"-O2 -fcf-protection=none {_LESS}",) * 2,
    "ibt": ("-O2 -fcf-protection=branch -fno-omit-frame-pointer",) * 2,
    "size": (f"-Os -fcf-protection=none {_LESS}",) * 2,
    "speed": ("-O3 -fcf-protection=none",) * 2,
    "stack guard": (
        f"-O2 -fstack-protector-strong {_GUARD} {_GUARD_OFFSET}",
        f"-O2 -fstack-protector-strong {_GUARD} {_GUARD_OFFSET}",
    ),
    "stack guard everywhere": (
        f"-O2 -fstack-protector-all {_GUARD} {_GUARD_OFFSET}",
        f"-O2 -fstack-protector-all {_GUARD} {_GUARD_OFFSET}",
    ),
    "mitigations": (
        f"-O2 {_LESS} -mindirect-branch=thunk-extern -mfunction-return=thunk-extern"
        " -fpatchable-function-entry=16,16",
        f"-O2 {_LESS} -mfunction-return=thunk-extern -fpatchable-function-entry=16,16",
    ),
    "sls": (f"-O2 {_LESS} -mharden-sls=all",) * 2,
    "ftrace": ("-O2 -pg -mfentry -fcf-protection=branch",) * 2,
    "kasan inline": (
        f"-O2 -fsanitize=kernel-address -fasan-shadow-offset={SHADOW:#x}"
        " --param asan-stack=1 --param asan-globals=0"
        " --param asan-instrumentation-with-call-threshold=10000",
        f"-O2 -fsanitize=kernel-address -mllvm -asan-mapping-offset={SHADOW:#x}"
        " -mllvm -asan-stack=1 -mllvm -asan-globals=0"
        " -mllvm -asan-instrumentation-with-call-threshold=10000",
    ),
    "kasan calls": (
        f"-O2 -fsanitize=kernel-address -fasan-shadow-offset={SHADOW:#x}"
        " --param asan-globals=0 --param asan-stack=0"
        " --param asan-instrumentation-with-call-threshold=0",
        f"-O2 -fsanitize=kernel-address -mllvm -asan-mapping-offset={SHADOW:#x}"
        " -mllvm -asan-globals=0 -mllvm -asan-stack=0"
        " -mllvm -asan-instrumentation-with-call-threshold=0",
    ),
    "kcsan": ("-O2 -fsanitize=thread",) * 2,
    "kcov": ("-O2 -fsanitize-coverage=trace-pc",) * 2,
    "ubsan": ("-O2 -fsanitize=shift,bounds,bool",) * 2,
    "gcov": ("-O2 -fprofile-arcs -ftest-coverage",) * 2,
}

SANITIZED = frozenset(
    way for way in _WAYS if way.startswith(("k", "ubsan", "gcov", "stack guard every"))
)
"""Ways that no distribution's kernel is built in."""


@dataclass(frozen=True)
class Compiler:
    """One of them, by its command."""

    command: str

    @property
    def is_clang(self) -> bool:
        return self.command.startswith("clang")


@dataclass(frozen=True)
class Build:
    """One compiler with one set of options."""

    compiler: Compiler
    way: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.compiler.command} {self.way}"


def compilers() -> list[Compiler]:
    """Return every GCC and clang there is, of each version one."""
    folders = {Path(folder) for folder in ("/usr/bin", "/usr/local/bin")}
    found = sorted(
        path.name
        for folder in folders
        for path in folder.glob("*")
        if re.fullmatch(r"(gcc|clang)-\d+", path.name)
    )
    if not found:
        found = [name for name in ("gcc", "clang") if shutil.which(name)]
    return [Compiler(name) for name in found]


def builds(compiler: Compiler) -> Iterator[Build]:
    """Yield the builds that the compiler knows the options of."""
    for way, both in _WAYS.items():
        own = () if compiler.is_clang else _GCC
        options = (*_ALWAYS, *own, *both[compiler.is_clang].split())
        tried = subprocess.run(
            [compiler.command, *options, "-Werror", "-S", "-x", "c", "-", "-o", "-"],
            input="int f(int x) { return x; }",
            capture_output=True,
            text=True,
            check=False,
            cwd=tempfile.gettempdir(),
        )
        if tried.returncode == 0:
            yield Build(compiler, way, options)
