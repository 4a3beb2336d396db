"""A Java virtual machine with a filled heap: it forks for each program it starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.investigations.servers.waiting import Started

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


class Java:
    """A virtual machine that runs Forks; ``classes`` is where ``compiled`` left it."""

    def __init__(self, folder: Path, classes: Path) -> None:
        """Choose the places; nothing is started yet."""
        self._folder = folder / "java"
        self._classes = classes
        self._machine: Started | None = None
        self._forks = 0

    def __enter__(self) -> Java:
        """Start it, wait until its heap is full, and have it fork once."""
        self._folder.mkdir()
        # By itself it would spawn, which shares the memory and copies nothing.
        by_fork = "-Djdk.lang.Process.launchMechanism=FORK"
        limits = ("-Xms256m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        command: list[str | Path] = [
            "java",
            by_fork,
            *limits,
            "-cp",
            self._classes,
            "Forks",
        ]
        self._machine = Started(self._folder / "log", command)
        try:
            self._machine.await_said("up")
            self.fork()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._machine:
            self._machine.end()

    @property
    def pid(self) -> int:
        """The virtual machine."""
        assert self._machine is not None, "it is not up"
        return self._machine.pid

    def fork(self) -> None:
        """Have it start a program, by fork."""
        assert self._machine is not None, "it is not up"
        self._forks += 1
        self._machine.tell("fork")
        self._machine.await_said("ended 0", self._forks)
