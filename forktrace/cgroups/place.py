"""Where a cgroup belongs, told by its path alone: to which unit, container and pod.

systemd, each container runtime and the kubelet put that into the names of cgroups.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROOT = "/"
"""The unit of what is in no cgroup but the root, as everything is under version 1."""

# docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope; the monitors
# crio-conmon-ID.scope and libpod-conmon-ID.scope; libpod-payload-ID below a service; a
# bare ID below /docker or a pod; SLICE:cri-containerd:ID, which containerd makes of
# systemd's notation where it is not told to use systemd.
_ID = re.compile(r"(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$")

# Names that people gave: by LXC, LXD and Incus, by bare crun, and by systemd-nspawn and
# libvirt, which register machines.
_NAMES = (
    re.compile(r"lxc\.(?:payload|monitor)\.(.+)"),
    re.compile(r"crun-(.+)\.scope"),
    re.compile(r"machine-(.+)\.scope"),
)
_POD = re.compile(r"(?:^|-)pod([0-9a-f][0-9a-f_-]{30,34}[0-9a-f])(?:$|\.slice(?:$|:))")
_UNITS = (".service", ".scope", ".mount", ".socket", ".swap")
_USERS_MANAGER = re.compile(r"user@\d+\.service")
_SESSION = re.compile(r"session-\w+\.scope")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Place:
    """What a path says: nothing of what does not apply.

    ``container`` is the name or the number that its runtime knows it by; a container
    has a ``unit`` only if it was started in one that is not its own.
    """

    unit: str = ""
    container: str = ""
    pod_uid: str = ""

    @property
    def is_numbered(self) -> bool:
        """Whether the container goes by its number, and may have a name besides."""
        return bool(_ID.match(self.container))

    @property
    def is_bare(self) -> bool:
        """Whether nobody is known who gives cgroups such names."""
        return self.unit != ROOT and not (
            self.container or self.pod_uid or self.unit.endswith((*_UNITS, ".slice"))
        )


def place_of(path: str) -> Place:
    """Return what a path says, whole or only its last parts.

    The first unit from above counts, and the first container: what is below belongs to
    it, whatever it is called there. Only a user's own systemd has units below its own.
    """
    parts = [part for part in path.split("/") if part]
    unit = pod_uid = above = ""
    for part in parts:
        pod_uid = pod_uid or _pod_uid(part)
        container = _container(part)
        if container:
            return Place(unit, container, pod_uid)
        unit = _unit(unit, part, above)
        above = part
    if unit or pod_uid:
        return Place(unit, "", pod_uid)
    slices = [part for part in parts if part.endswith(".slice")]
    return Place(slices[-1] if slices else "/".join(parts[-2:]) or ROOT)


def _pod_uid(part: str) -> str:
    found = _POD.search(part)
    return found[1].replace("_", "-") if found else ""


def _container(part: str) -> str:
    found = _ID.search(part)
    if found:
        return found[1]
    names = (pattern.fullmatch(part) for pattern in _NAMES)
    return next((_unescaped(name[1]) for name in names if name), "")


def _unescaped(name: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name)


def _unit(unit: str, part: str, above: str) -> str:
    """Return the unit now that ``part`` is met, which is below ``above``."""
    if not part.endswith(_UNITS) or (unit and not _USERS_MANAGER.fullmatch(unit)):
        return unit
    if unit and part == "init.scope":
        # The user's systemd itself.
        return unit
    if _SESSION.fullmatch(part) and above.endswith(".slice"):
        # Each login and each job of cron has one: the user says more.
        return above
    # systemd puts this before names that could be a controller's.
    return part.removeprefix("_")
