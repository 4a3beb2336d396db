"""What people call a container: its name, and in Kubernetes its pod and namespace.

Whoever starts containers keeps that in files. All of them may be missing, half written
or broken, and then that source says nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

_MAX_BYTES = 4 << 20
_MAX_ENTRIES = 10_000

_LINK = re.compile(
    r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>.+)-(?P<id>[0-9a-f]{64})\.log"
)
_LOGS = re.compile(r"(?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[^_]+)")

# Namespace, pod and container, as containerd and CRI-O annotate what they run.
_ANNOTATIONS = (
    (
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
    ),
    (
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
        "io.kubernetes.container.name",
    ),
)

_SANDBOX = "POD"
"""What CRI-O calls the container that only holds a pod's namespaces."""


@dataclass(frozen=True)
class Names:
    """What is known of a container; nothing of what is not."""

    namespace: str = ""
    pod: str = ""
    container: str = ""


class Kubelet:
    """Names that the kubelet gives to logs: no log is read, nor need any be there.

    The links /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log tell a container, and
    what they point to, /var/log/pods/NAMESPACE_POD_UID, a pod.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Look below ``root``, once."""
        self._containers: dict[str, Names] = {}
        self._pods: dict[str, Names] = {}
        for entry in _entries(root / "var/log/containers"):
            found = _LINK.fullmatch(entry.name)
            if found:
                namespace, pod = found["namespace"], found["pod"]
                self._containers[found["id"]] = Names(
                    namespace, pod, found["container"]
                )
                with suppress(OSError):
                    self._keep_pod(Path(os.readlink(entry.path)).parts[-3:][0])
        for entry in _entries(root / "var/log/pods"):
            self._keep_pod(entry.name)

    def _keep_pod(self, folder: str) -> None:
        found = _LOGS.fullmatch(folder)
        if found:
            self._pods[found["uid"]] = Names(found["namespace"], found["pod"])

    def container(self, number: str) -> Names | None:
        """Return the names of a container."""
        return self._containers.get(number)

    def pod(self, uid: str) -> Names | None:
        """Return the names of a pod."""
        return self._pods.get(uid)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from islice(entries, _MAX_ENTRIES)


def runtimes_names(number: str, root: Path = Path("/")) -> Names | None:
    """Return what the runtime says that knows a container by this number."""
    for pattern, read in _STATES:
        with suppress(OSError):
            for path in root.glob(pattern.format(number)):
                names = read(_json(path), number)
                if names:
                    return names
    return None


def is_cruns(name: str, root: Path = Path("/")) -> bool:
    """Tell whether crun, used by itself, runs a container of this name."""
    return bool(_text(_json(root / "run/crun" / name / "status"), "cgroup-path"))


def _json(path: Path) -> Any:
    """Return what a file holds, None if that cannot be told."""
    try:
        # Or a FIFO in its place would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def _text(record: Any, key: str) -> str:
    found = record.get(key) if isinstance(record, dict) else None
    return found if isinstance(found, str) else ""


def _docker(config: Any, container: str) -> Names | None:
    name = _text(config, "Name").removeprefix("/")
    return Names(container=name) if name else None


def _annotated(config: Any, container: str) -> Names | None:
    annotations = config.get("annotations") if isinstance(config, dict) else None
    for keys in _ANNOTATIONS:
        namespace, pod, name = (_text(annotations, key) for key in keys)
        if pod:
            return Names(namespace, pod, name or _SANDBOX)
    return None


def _stored(containers: Any, container: str) -> Names | None:
    """Read the list that Podman and CRI-O keep of all their containers."""
    for one in containers if isinstance(containers, list) else ():
        names = one.get("names") if isinstance(one, dict) else None
        if names and isinstance(names, list) and _text(one, "id") == container:
            return Names(container=str(names[0]))
    return None


_STATES: tuple[tuple[str, Callable[[Any, str], Names | None]], ...] = (
    ("run/containerd/io.containerd.runtime.v2.task/*/{}/config.json", _annotated),
    ("run/containers/storage/*-containers/{}/userdata/config.json", _annotated),
    ("var/lib/containers/storage/*-containers/{}/userdata/config.json", _annotated),
    ("var/lib/docker/containers/{}/config.v2.json", _docker),
    ("var/lib/containers/storage/*-containers/containers.json", _stored),
)
"""What files are called for a number, and what reads them."""
