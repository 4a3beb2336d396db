"""Debian's base image from Debian's packages: no registry is asked for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.apt import debian_sources, machine_settings, machine_sources
from tests.lab.errors import LabError

NAME = "docker.io/library/debian:trixie-slim"
"""What a Dockerfile means by debian:trixie-slim."""

SUITE = "trixie"
PYTHON = "3.13"
"""The suite's Python."""

_LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
_SLIM = [f"path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT]
"""What the slim variant of Debian's image has none of."""

RECIPE = (NAME, SUITE, *_SLIM)
"""What tells one base image from another."""


def make_base(file: Path) -> None:
    """Write the base image's files to ``file``, a tar archive."""
    print("Making a base image…", file=sys.stderr, flush=True)
    settings = file.with_suffix(".conf")
    settings.write_text("\n".join(machine_settings()) + "\n")
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
        *(f"--dpkgopt={option}" for option in _SLIM),
        f"--aptopt={settings}",
    ]
    lines = []
    for source in debian_sources(machine_sources()):
        if source.signed_by.startswith("/"):
            command.append(f"--keyring={source.signed_by}")
        if source.uri.startswith("https:"):
            command.append("--include=ca-certificates")
        suites = (SUITE, f"{SUITE}-security")
        lines += [
            f"deb {source.uri} {suite} main"
            for suite in source.suites
            if suite in suites
        ]
    done = subprocess.run(
        [*command, SUITE, str(file), "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError("No base image could be made.", details=done.stderr)
