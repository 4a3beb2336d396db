"""The system calls that a runtime allows by default, as an OCI bundle has them.

Runtimes ship one profile for all: which of its entries are for whom depends on the
capabilities and the architecture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

PROFILE = Path("/usr/share/containers/seccomp.json")
"""That of Podman, Buildah and CRI-O, where Debian has it."""

_ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
_CONDITIONS = {"arches", "caps", "minKernel"}


def rules(
    profile: Mapping[str, Any], capabilities: Collection[str], architecture: str
) -> dict[str, Any]:
    """Return what a profile says about a container; ``architecture`` is Go's name."""
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": _architectures(profile, architecture),
        "syscalls": [
            {
                key: entry[key]
                for key in ("names", "action", "errnoRet", "args")
                if entry.get(key) is not None
            }
            for entry in profile["syscalls"]
            if _is_for(entry, capabilities, architecture)
        ],
    }


def _architectures(profile: Mapping[str, Any], architecture: str) -> list[str]:
    """Return its own and those whose programs it runs as well."""
    (own,) = (
        each
        for each in profile["archMap"]
        if each["architecture"] == _ARCHITECTURES[architecture]
    )
    return [own["architecture"], *own["subArchitectures"]]


def _is_for(
    entry: Mapping[str, Any], capabilities: Collection[str], architecture: str
) -> bool:
    only, unless = entry.get("includes") or {}, entry.get("excludes") or {}
    unknown = {*only, *unless} - _CONDITIONS
    if unknown:
        raise ValueError(f"what a profile means by {sorted(unknown)} is not known here")
    # minKernel asks for kernels older than any that forktrace knows.
    return (
        all(name in capabilities for name in only.get("caps", ()))
        and not any(name in capabilities for name in unless.get("caps", ()))
        and architecture in only.get("arches", (architecture,))
        and architecture not in unless.get("arches", ())
    )
