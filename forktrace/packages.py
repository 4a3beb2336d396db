"""How the libraries that forktrace is built on are installed on this distribution.

Debian's and Ubuntu's names are tried by the tests; the others are those that BCC's
INSTALL.md and the distributions' package lists give.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

Library = Literal["bcc", "libbpf", "libdw", "plotly"]

_OS_RELEASE = Path("/etc/os-release")

# By ID or ID_LIKE of os-release: the command, and what each library is called.
_COMMANDS = {
    "debian": "sudo apt install",
    "fedora": "sudo dnf install",
    "suse": "sudo zypper install",
    "arch": "sudo pacman -S",
    "alpine": "sudo apk add",
    "nixos": "nix-shell -p",
}
_NAMES: dict[Library, dict[str, str]] = {
    "bcc": {
        "debian": "python3-bpfcc",
        "fedora": "python3-bcc",
        "suse": "python3-bcc",
        "arch": "python-bcc",
        "alpine": "py3-bcc",
        "nixos": "python3Packages.bcc",
    },
    "libbpf": {
        "debian": "libbpf1",
        "fedora": "libbpf",
        "suse": "libbpf1",
        "arch": "libbpf",
        "alpine": "libbpf",
        "nixos": "libbpf",
    },
    "libdw": {
        "debian": "libdw1",
        "fedora": "elfutils-libs",
        "suse": "libdw1",
        "arch": "libelf",
        "alpine": "elfutils",
        "nixos": "elfutils",
    },
    "plotly": {
        "debian": "python3-plotly",
        "fedora": "python3-plotly",
        "arch": "python-plotly",
        "nixos": "python3Packages.plotly",
    },
}


def install(library: Library, os_release: Path = _OS_RELEASE) -> str:
    """Return the advice that installs a library; of an unknown distribution, names."""
    names = _NAMES[library]
    for family in _families(os_release):
        if family in names:
            return f"Run: {_COMMANDS[family]} {names[family]}"
    told = ", ".join(f"{name} ({family})" for family, name in names.items())
    return f"Install its package: {told}."


def _families(os_release: Path) -> list[str]:
    """Return what this distribution is, and then what it is like."""
    try:
        text = os_release.read_text(errors="replace")
    except OSError:
        return []
    found = dict(re.findall(r"^(ID|ID_LIKE)=[\"']?([\w. -]*)", text, re.MULTILINE))
    likes = [*found.get("ID", "").split(), *found.get("ID_LIKE", "").split()]
    # openSUSE's ID carries its edition, and its ID_LIKE comes in two spellings.
    return ["suse" if "suse" in each else each for each in likes]
