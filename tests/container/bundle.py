"""A pod of Kubernetes as an OCI bundle: what a node's runtime makes of a manifest.

Field by field; one that is not known here is an error, so that nothing of the manifest
is passed over in silence. What no field says is as containerd and CRI-O have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Of containerd's and CRI-O's defaults.
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
READ_ONLY = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
)
_QUIET = ("nosuid", "noexec", "nodev")
_MOUNTS = (
    ("/proc", "proc", _QUIET),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666")),
    ("/dev/mqueue", "mqueue", _QUIET),
    ("/dev/shm", "tmpfs", (*_QUIET, "mode=1777", "size=65536k")),
    ("/sys", "sysfs", (*_QUIET, "ro")),
    ("/sys/fs/cgroup", "cgroup", (*_QUIET, "relatime", "ro")),
)
_NAMESPACES = {"network": "hostNetwork", "pid": "hostPID", "ipc": "hostIPC"}
"""Namespaces, and the fields that keep the node's."""

_ELSEWHERE = {
    "affinity",
    "automountServiceAccountToken",
    "nodeSelector",
    "tolerations",
}
_KUBELETS = {"name", "image", "ports", "startupProbe", "livenessProbe"}
"""Fields that are not the runtime's business."""

_RUNTIMES = {"args", "env", "resources", "securityContext", "volumeMounts"}

_UNITS = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def config(
    pod: Mapping[str, Any], image: Mapping[str, Any], rootfs: Path, node: str = ""
) -> Any:
    """Return config.json for the only container of a pod's ``spec``.

    ``image`` is the image's own configuration, ``node`` the node's name. Raises
    ValueError for a field that this does not know.
    """
    _known(pod, {*_ELSEWHERE, *_NAMESPACES.values(), "containers", "volumes"})
    (container,) = pod["containers"]
    _known(container, {*_KUBELETS, *_RUNTIMES})
    security = container["securityContext"]
    _known(
        security,
        {
            *("runAsUser", "readOnlyRootFilesystem", "allowPrivilegeEscalation"),
            "capabilities",
        },
    )
    return {
        "ociVersion": "1.0.2",
        "hostname": container["name"],
        "root": {"path": str(rootfs), "readonly": security["readOnlyRootFilesystem"]},
        "process": {
            "terminal": False,
            "user": {"uid": security["runAsUser"], "gid": 0},
            "args": [*image["Entrypoint"], *container["args"]],
            "env": [*image["Env"], *_environment(container.get("env", ()), node)],
            "cwd": image.get("WorkingDir") or "/",
            "capabilities": _capabilities(security["capabilities"]),
            "noNewPrivileges": not security["allowPrivilegeEscalation"],
        },
        "mounts": _mounts(pod, container),
        "linux": {
            "namespaces": [
                {"type": kind}
                for kind in ("mount", "uts", "cgroup", *_NAMESPACES)
                if not pod.get(_NAMESPACES.get(kind, ""))
            ],
            "maskedPaths": [*MASKED],
            "readonlyPaths": [*READ_ONLY],
            # No seccomp: without a profile in the manifest, Kubernetes asks for none.
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                **_resources(container["resources"]),
            },
        },
    }


def _known(fields: Mapping[str, Any], names: set[str]) -> None:
    unknown = fields.keys() - names
    if unknown:
        raise ValueError(f"what a runtime makes of {sorted(unknown)} is not known here")


def _environment(asked: Sequence[Mapping[str, Any]], node: str) -> Iterator[str]:
    for variable in asked:
        _known(variable, {"name", "valueFrom"})
        if variable["valueFrom"] != {"fieldRef": {"fieldPath": "spec.nodeName"}}:
            raise ValueError(f"the value of {variable['name']} is not known here")
        yield f"{variable['name']}={node}"


def _mounts(pod: Mapping[str, Any], container: Mapping[str, Any]) -> list[Any]:
    """Return what is mounted; the manifest's are in place of the runtime's own."""
    paths = {}
    for volume in pod.get("volumes", ()):
        _known(volume, {"name", "hostPath"})
        _known(volume["hostPath"], {"path", "type"})
        paths[volume["name"]] = volume["hostPath"]["path"]
    bound = {}
    for mount in container.get("volumeMounts", ()):
        _known(mount, {"name", "mountPath", "readOnly"})
        access = "ro" if mount.get("readOnly") else "rw"
        options = ["rbind", "rprivate", access]
        bound[mount["mountPath"]] = ("bind", paths[mount["name"]], options)
    own = {place: (kind, kind, [*options]) for place, kind, options in _MOUNTS}
    return [
        {"destination": place, "type": kind, "source": source, "options": options}
        for place, (kind, source, options) in {**own, **bound}.items()
    ]


def _capabilities(asked: Mapping[str, list[str]]) -> dict[str, list[str]]:
    _known(asked, {"drop", "add"})
    if asked["drop"] != ["ALL"]:
        raise ValueError("what a runtime gives by itself is not known here")
    names = [f"CAP_{name}" for name in asked["add"]]
    return dict.fromkeys(("bounding", "effective", "permitted"), names)


def _resources(asked: Mapping[str, Any]) -> dict[str, Any]:
    _known(asked, {"requests", "limits"})
    # A request for memory only helps to choose a node.
    _known(asked["requests"], {"cpu", "memory"})
    _known(asked["limits"], {"memory"})
    return {
        "cpu": {"shares": max(2, round(1024 * quantity(asked["requests"]["cpu"])))},
        "memory": {"limit": round(quantity(asked["limits"]["memory"]))},
    }


def quantity(text: str) -> float:
    """Return the number that Kubernetes means: ``10m``, ``64Mi``."""
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", text)
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{text} is no quantity that is known here")
    return int(found[1]) * _UNITS[found[2]]
