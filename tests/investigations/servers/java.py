"""A Java virtual machine with a filled heap: it forks for each program it starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.investigations.servers.server import Obeying

SOURCE = Path(__file__).with_name("Forks.java")


def compiled(folder: Path) -> None:
    """Leave the program's class in ``folder``; a runtime has the compiler in it."""
    java = shutil.which("java")
    if not java:
        raise ForktraceError(
            "There is no java on this machine.", "apt-get install default-jre-headless"
        )
    compiler = "jdk.compiler/com.sun.tools.javac.Main"
    # The guest's java may be another one than that of this PATH: none is too old.
    command = [java, "-m", compiler, "-source", "11", "-target", "11", "-nowarn"]
    done = subprocess.run(
        [*command, "-d", folder, SOURCE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ForktraceError(f"java cannot compile {SOURCE.name}: {done.stdout}")


class Java(Obeying):
    """A virtual machine that runs Forks; ``classes`` is where ``compiled`` left it."""

    def __init__(self, folder: Path, classes: Path) -> None:
        """Choose the places; nothing is started yet."""
        super().__init__(folder)
        self._classes = classes

    def prepared(self) -> tuple[str | Path, ...]:
        """Return what runs it, with a heap that can be filled."""
        # By itself it would spawn, which shares the memory and copies nothing.
        by_fork = "-Djdk.lang.Process.launchMechanism=FORK"
        limits = ("-Xms256m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        return ("java", by_fork, *limits, "-cp", self._classes, "Forks")
