"""Each thing that tracing needs has a check, and what is missing is named at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forktrace.errors import EXIT_UNSUPPORTED, Unsupported
from forktrace.kernel import host
from forktrace.kernel.btf import MAGIC
from forktrace.kernel.running import AROUND_DUP_MMAP

if TYPE_CHECKING:
    from forktrace.kernel.host import Check

FUNCTIONS = ("copy_page_range", "kernel_clone", *AROUND_DUP_MMAP)

GOOD: dict[str, str | bytes] = {
    "proc/self/status": "Name:\tpython\nCapEff:\t000001ffffffffff\n",
    "proc/kallsyms": "".join(f"0000000000000000 T {name}\n" for name in FUNCTIONS),
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "proc/sys/net/core/bpf_jit_enable": "1\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
    "sys/kernel/btf/vmlinux": MAGIC,
    "sys/kernel/debug/kprobes/enabled": "1\n",
    "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
}


def checks(tmp_path: Path, **changes: str | bytes | None) -> dict[str, Check]:
    """Check a host with the files of GOOD, some changed or missing (None).

    A keyword names the last part of a path.
    """
    for name, content in GOOD.items():
        path = tmp_path / name
        new = changes.get(path.name, content)
        if new is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(new if isinstance(new, bytes) else new.encode())
    return {check.name: check for check in host.check_host(tmp_path)}


def test_a_good_host_passes(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert all(found[name].ok for name in found if name not in ("bcc", "libbpf"))


@pytest.mark.parametrize(
    ("name", "file", "content", "fix"),
    [
        ("privileges", "status", "CapEff:\t0000000000000000\n", "root"),
        ("lockdown", "lockdown", "none integrity [confidentiality]\n", "lockdown="),
        ("kprobes", "type", None, "CONFIG_KPROBES"),
        ("kprobes", "enabled", "0\n", "echo 1"),
        ("bpf", "unprivileged_bpf_disabled", None, "CONFIG_BPF_SYSCALL"),
        ("btf", "vmlinux", None, "CONFIG_DEBUG_INFO_BTF"),
        ("btf", "vmlinux", "", "umount"),
        ("btf", "vmlinux", "\x7fELF", "umount"),
        ("functions", "kallsyms", None, "CONFIG_KALLSYMS"),
        ("functions", "kallsyms", "0000000000000000 T copy_page_range\n", "5.10"),
        ("parts", "kallsyms", "0 T copy_page_range\n0 T kernel_clone\n", "UPROBES"),
        ("jit", "bpf_jit_enable", "0\n", "bpf_jit_enable"),
        ("jit", "bpf_jit_enable", None, "CONFIG_BPF_JIT"),
    ],
)
def test_each_missing_thing_fails_its_check_with_a_fix(
    tmp_path: Path, name: str, file: str, content: str | None, fix: str
) -> None:
    check = checks(tmp_path, **{file: content})[name]
    assert not check.ok
    assert fix in check.fix


def test_bpf_and_perfmon_are_privilege_enough(tmp_path: Path) -> None:
    capabilities = f"CapEff:\t{1 << 38 | 1 << 39:016x}\n"
    assert checks(tmp_path, status=capabilities)["privileges"].ok
    assert not checks(tmp_path, status=f"CapEff:\t{1 << 39:x}\n")["privileges"].ok


def test_a_slow_host_can_still_be_traced(tmp_path: Path) -> None:
    found = checks(tmp_path, bpf_jit_enable="0\n")
    usable = [c for c in found.values() if c.name not in ("bcc", "libbpf")]
    assert host.can_trace(usable)
    host.require_traceable(usable)


def test_one_message_names_everything_missing(tmp_path: Path) -> None:
    found = checks(tmp_path, type=None, vmlinux=None)
    with pytest.raises(Unsupported) as caught:
        host.require_traceable(list(found.values()))
    assert "no kprobes" in caught.value.message
    assert "no BTF" in caught.value.message
    assert "CONFIG_KPROBES=y" in caught.value.advice
    assert "CONFIG_DEBUG_INFO_BTF=y" in caught.value.advice
    assert caught.value.exit_status == EXIT_UNSUPPORTED


def test_another_package_called_bcc_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    check = next(c for c in host.check_host() if c.name == "bcc")
    assert not check.ok
    assert "python3-bpfcc" in check.fix


def test_this_hosts_kprobes_are_told_as_they_are() -> None:
    here = Path("/sys/bus/event_source/devices/kprobe").exists()
    check = next(c for c in host.check_host() if c.name == "kprobes")
    assert check.ok == here


def test_this_process_privileges_are_told_as_they_are() -> None:
    check = next(c for c in host.check_host() if c.name == "privileges")
    assert check.ok == (os.geteuid() == 0)
