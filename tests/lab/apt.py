"""Debian's packages through the machine's own apt sources, without installing.

The mirror, the keyring and the settings for the network are the machine's; lists
and downloads go to a folder of the lab's own, so that apt on the machine neither
sees nor is changed by any of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

CODENAMES = ("bullseye", "bookworm", "trixie")
"""The Debian releases whose kernels are wanted, oldest first."""

SUITES = {
    "main": ("bullseye", "bookworm", "trixie", "trixie-backports"),
    "security": ("bullseye-security", "bookworm-security", "trixie-security"),
}
"""The suites read from each of Debian's two archives."""

INDEX_SECONDS = 24 * 3600
"""The package lists are read again when they are older than this."""


@dataclass(frozen=True)
class Source:
    """One archive in the machine's apt sources: where, which suites, whose key."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Package:
    """One package as the lists describe it; ``size`` is the download, in bytes."""

    name: str
    version: str
    size: int


def machine_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Return every archive of binary packages that the machine itself uses."""
    found: list[Source] = []
    lists = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]
    for path in lists:
        if path.exists():
            found.extend(parse_one_line(path.read_text()))
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        found.extend(parse_deb822(path.read_text()))
    return found


def parse_one_line(text: str) -> Iterator[Source]:
    """Read apt's classic format: ``deb [options] uri suite components``."""
    pattern = re.compile(
        r"^\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(\S+)\s+(\S+)", re.M
    )
    for match in pattern.finditer(text):
        key = re.search(r"signed-by=(\S+)", match["options"] or "")
        yield Source(match[2], (match[3],), key[1] if key else "")


def parse_deb822(text: str) -> Iterator[Source]:
    """Read apt's newer format: stanzas of ``Field: value``."""
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    for stanza in re.split(r"\n\s*\n", text):
        fields = {
            match[1].lower(): match[2].strip()
            for match in re.finditer(r"^(\S+):((?:.*(?:\n[ \t].*)*))", stanza, re.M)
        }
        off = fields.get("enabled", "yes").lower() in ("no", "false", "0")
        if off or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            yield Source(uri, suites, fields.get("signed-by", ""))


def debian_sources(machine: Iterable[Source]) -> list[Source]:
    """Turn the machine's own Debian archives into the suites with kernels.

    Raises LabError where the machine has no Debian archive among its sources.
    """
    wanted: dict[str, Source] = {}
    for source in machine:
        for suite in source.suites:
            if suite in CODENAMES:
                wanted.setdefault("main", source)
            elif suite.removesuffix("-security") in CODENAMES:
                wanted.setdefault("security", source)
    if "main" not in wanted:
        raise LabError(
            "This machine's apt sources name no Debian archive to take kernels from.",
            "Add a Debian mirror to /etc/apt/sources.list.d, or name a kernel by path.",
        )
    return [
        Source(source.uri, SUITES[archive], source.signed_by)
        for archive, source in wanted.items()
    ]


def machine_settings() -> list[str]:
    """Return how the machine reaches its mirror, in apt's words: proxies, dates.

    None of its hooks: those are about the machine's own packages.
    """
    dump = subprocess.run(
        ["apt-config", "dump"], stdout=subprocess.PIPE, text=True, check=True
    )
    return [line for line in dump.stdout.splitlines() if line[:9] == "Acquire::"]


class Apt:
    """Debian's package lists and downloads in a folder of our own."""

    def __init__(self, folder: Path, architecture: str = "amd64") -> None:
        """Use ``folder``; nothing is read or written yet.

        ``architecture`` is Debian's name of the one whose packages are wanted.
        """
        self._folder = folder
        self._architecture = architecture
        self._stamp = folder / "updated"
        self._config = folder / "apt.conf"

    def is_fresh(self) -> bool:
        """Tell whether the lists were read within the last day, for this folder."""
        try:
            age = time.time() - self._stamp.stat().st_mtime
            # Apt is told whole paths: a checkout that was moved is not fresh.
            here = f'"{self._folder}/state"' in self._config.read_text()
        except FileNotFoundError:
            return False
        return here and age < INDEX_SECONDS

    def update(self) -> None:
        """Read the package lists; raise LabError where the mirror is not reached."""
        self._configure()
        self._run("apt-get", "update", timeout=600)
        self._stamp.touch()

    def names(self, prefix: str) -> list[str]:
        """Return the names of all packages that start with ``prefix``."""
        return self._run("apt-cache", "pkgnames", prefix, timeout=120).split()

    def show(self, names: Iterable[str]) -> list[Package]:
        """Return the newest version of each package that exists."""
        text = self._run(
            "apt-cache", "show", "--no-all-versions", *names, timeout=120, check=False
        )
        found = []
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|Size): (.*)$", stanza, re.M))
            if len(fields) == 3:
                size = int(fields["Size"])
                found.append(Package(fields["Package"], fields["Version"], size))
        return found

    def download(self, packages: Iterable[Package], folder: Path) -> list[Path]:
        """Fetch packages into ``folder`` and return the files, checked by apt."""
        names = [f"{package.name}={package.version}" for package in packages]
        self._run("apt-get", "download", *names, timeout=1800, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def download_all(self, names: Iterable[str], folder: Path) -> list[Path]:
        """Fetch packages and all that they depend on, as for an empty machine."""
        (folder / "partial").mkdir(exist_ok=True)
        self._run(
            *("apt-get", "install", "--yes", "--download-only"),
            *("--no-install-recommends", "-o", f"Dir::Cache::archives={folder}"),
            *names,
            timeout=1800,
        )
        return sorted(folder.glob("*.deb"))

    def _configure(self) -> None:
        folder = self._folder
        for name in (
            "state/lists/partial",
            "cache/archives/partial",
            "sources",
            "none",
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        stanzas = [_stanza(source) for source in debian_sources(machine_sources())]
        (folder / "sources/debian.sources").write_text("\n".join(stanzas))
        lines = machine_settings()
        settings = {
            "Acquire::Languages": "none",
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "root",
            "Dir::State": f"{folder}/state",
            "Dir::State::status": f"{folder}/status",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{folder}/sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": f"{folder}/none",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": f"{folder}/none",
        }
        lines += [f"{name} {json.dumps(value)};" for name, value in settings.items()]
        self._config.write_text("\n".join(lines) + "\n")

    def _run(
        self,
        *argv: str,
        timeout: float,
        cwd: Path | None = None,
        check: bool = True,
    ) -> str:
        try:
            done = subprocess.run(
                argv,
                cwd=cwd,
                env={**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            raise LabError(
                f"{argv[0]} is not there: the lab needs Debian's apt."
            ) from None
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{argv[0]} {argv[1]} did not end within {timeout:g} seconds.",
                "Is the Debian mirror in this machine's apt sources reachable?",
            ) from None
        # apt-get update calls an unreachable mirror a warning and exits 0.
        failed = done.returncode != 0 or re.search(
            r"^W: Failed to fetch", done.stderr, re.M
        )
        if check and failed:
            reasons = re.findall(r"^[EW]: (.*)$", done.stderr, re.M)
            raise LabError(
                f"{argv[0]} {argv[1]} failed: {(reasons or ['no reason given'])[0]}",
                "Is the Debian mirror in this machine's apt sources reachable?",
                details=done.stderr,
            )
        return done.stdout


def _stanza(source: Source) -> str:
    lines = [
        "Types: deb",
        f"URIs: {source.uri}",
        f"Suites: {' '.join(source.suites)}",
        "Components: main",
    ]
    if source.signed_by:
        lines.append(f"Signed-By: {source.signed_by}")
    return "\n".join(lines) + "\n"
