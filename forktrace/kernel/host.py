"""Can this host be traced: one check for each thing that tracing needs.

Nothing here loads BPF or imports bcc; each check looks at the thing itself.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forktrace import libbpf
from forktrace.errors import Unsupported
from forktrace.kernel import btf
from forktrace.kernel.running import AROUND_DUP_MMAP, NEEDED
from forktrace.kernel.symbols import Symbols
from forktrace.packages import install
from forktrace.privileges import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN

if TYPE_CHECKING:
    from collections.abc import Sequence

_FUNCTIONS = ("copy_page_range", "kernel_clone")


@dataclass(frozen=True)
class Check:
    """One thing that tracing needs: what was found, and the fix where it is not ok.

    A check that is not ``required`` costs something when it fails, but not tracing.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the published ``checks``."""
        return {
            "name": self.name,
            "ok": self.ok,
            "detail": self.detail,
            "fix": self.fix,
        }


def check_host(root: Path = Path("/")) -> tuple[Check, ...]:
    """Run every check. ``root`` is where /proc and /sys are looked for."""
    return (
        _privileges(root),
        _lockdown(root),
        _kprobes(root),
        _bpf(root),
        _jit(root),
        _btf(root),
        _libbpf(),
        _bcc(),
        *_functions(root),
    )


def can_trace(checks: Sequence[Check]) -> bool:
    """Tell whether nothing that is required is missing."""
    return all(check.ok for check in checks if check.required)


def require_traceable(checks: Sequence[Check] | None = None) -> None:
    """Raise Unsupported with one message that names everything missing."""
    found = check_host() if checks is None else checks
    failed = [check for check in found if check.required and not check.ok]
    if failed:
        raise Unsupported(
            f"This host cannot be traced: {'; '.join(c.detail for c in failed)}.",
            " ".join(check.fix for check in failed),
        )


def _read(path: Path) -> str | None:
    """Return a small file's text, None where it is missing or closed to us."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _privileges(root: Path) -> Check:
    status = _read(root / "proc/self/status") or ""
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    effective = int(lines.get("CapEff", "0"), 16)

    def has(capability: int) -> bool:
        return bool(effective >> capability & 1)

    ok = has(CAP_SYS_ADMIN) or (has(CAP_BPF) and has(CAP_PERFMON))
    return Check(
        "privileges",
        ok,
        "may load BPF programs" if ok else "not root",
        "" if ok else "Run it as root, or with CAP_BPF and CAP_PERFMON.",
    )


def _lockdown(root: Path) -> Check:
    modes = _read(root / "sys/kernel/security/lockdown")
    if modes is None:
        return Check("lockdown", True, "the kernel has no lockdown")
    mode = next((m.strip("[]") for m in modes.split() if m.startswith("[")), modes)
    # LOCKDOWN_KPROBES and LOCKDOWN_BPF_READ_KERNEL are reasons of this level alone,
    # include/linux/security.h; "integrity" leaves reading allowed.
    ok = mode != "confidentiality"
    return Check(
        "lockdown",
        ok,
        f"lockdown is {mode}"
        if ok
        else "kernel lockdown forbids kprobes and BPF reads",
        "" if ok else "Boot with lockdown=integrity or without lockdown=.",
    )


def _kprobes(root: Path) -> Check:
    if not (root / "sys/bus/event_source/devices/kprobe/type").exists():
        return Check(
            "kprobes",
            False,
            "this kernel has no kprobes",
            "Boot a kernel built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y.",
        )
    if _read(root / "sys/kernel/debug/kprobes/enabled") == "0":
        return Check(
            "kprobes",
            False,
            "kprobes are switched off",
            "Run: echo 1 >/sys/kernel/debug/kprobes/enabled",
        )
    return Check("kprobes", True, "kprobes through perf events")


def _bpf(root: Path) -> Check:
    ok = (root / "proc/sys/kernel/unprivileged_bpf_disabled").exists()
    return Check(
        "bpf",
        ok,
        "the kernel has the bpf() system call" if ok else "this kernel has no BPF",
        "" if ok else "Boot a kernel built with CONFIG_BPF_SYSCALL=y.",
    )


def _jit(root: Path) -> Check:
    path = root / "proc/sys/net/core/bpf_jit_enable"
    state = _read(path)
    if not path.exists():
        detail, fix = "no BPF JIT", "Boot a kernel built with CONFIG_BPF_JIT=y."
    elif state == "0":
        detail, fix = "the BPF JIT is off", "Run: sysctl net.core.bpf_jit_enable=1"
    else:
        return Check("jit", True, "BPF programs are compiled", required=False)
    return Check("jit", False, f"{detail}: tracing costs more", fix, required=False)


def _btf(root: Path) -> Check:
    path = root / btf.VMLINUX.lstrip("/")
    if not path.exists():
        return Check(
            "btf",
            False,
            "this kernel has no BTF",
            "Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y.",
        )
    try:
        with path.open("rb") as file:
            ok = file.read(len(btf.MAGIC)) == btf.MAGIC
    except OSError:
        ok = False
    return Check(
        "btf",
        ok,
        "the kernel describes its structs" if ok else f"no BTF is in {btf.VMLINUX}",
        "" if ok else f"Unmount what hides it: umount {btf.VMLINUX}",
    )


def _libbpf() -> Check:
    name = libbpf.library_name()
    return Check(
        "libbpf",
        name is not None,
        name or "libbpf is missing",
        "" if name else install("libbpf"),
    )


def _bcc() -> Check:
    fix = (
        f"{install('bcc')}; and run forktrace with the system's Python (in a virtual "
        "environment: --system-site-packages)."
    )
    # find_spec does not import: importing bcc maps 75 MB of LLVM. PyPI's package of
    # the same name, about crystal lattices, has no module libbcc.
    spec = importlib.util.find_spec("bcc")
    places = spec.submodule_search_locations if spec else None
    if not any(Path(place, "libbcc.py").exists() for place in places or ()):
        return Check("bcc", False, "BCC's Python package is missing", fix)
    if ctypes.util.find_library("bcc") is None:
        return Check("bcc", False, "the library libbcc is missing", fix)
    return Check("bcc", True, "python3-bpfcc")


def _functions(root: Path) -> tuple[Check, ...]:
    path = root / "proc/kallsyms"
    try:
        symbols = Symbols.read(*NEEDED, path=str(path))
    except OSError:
        unread = Check(
            "functions",
            False,
            "/proc/kallsyms cannot be read",
            "Boot a kernel built with CONFIG_KALLSYMS=y, or mount all of /proc "
            "(ProcSubset=all in a unit of systemd).",
        )
        return (unread,)
    return _traced(symbols), _parts(symbols)


def _traced(symbols: Symbols) -> Check:
    missing = [name for name in _FUNCTIONS if name not in symbols]
    if missing:
        return Check(
            "functions",
            False,
            f"this kernel has no function {' or '.join(missing)}",
            "Boot Linux 5.10 or later.",
        )
    return Check("functions", True, " and ".join(_FUNCTIONS))


def _parts(symbols: Symbols) -> Check:
    if all(name in symbols for name in AROUND_DUP_MMAP):
        return Check("parts", True, "a fork's time can be divided", required=False)
    return Check(
        "parts",
        False,
        "no uprobes: what a fork's time is made of is not known",
        "Boot a kernel built with CONFIG_UPROBES=y.",
        required=False,
    )
