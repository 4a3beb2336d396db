"""A PostgreSQL of our own: its postmaster forks a backend for each connection."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.investigations.servers.server import Server
from tests.patience import PATIENCE

USER = "postgres"
PROGRAMS = Path("/usr/lib/postgresql")

# Whatever else forks or writes by itself is left out: only what is asked for forks.
QUIET = ("autovacuum=off", "fsync=off", "max_wal_size=4GB", "huge_pages=off")


class Postgresql(Server):
    """A postmaster on a unix socket in ``folder``, which should be a tmpfs.

    ``settings`` are such as "shared_buffers=1GB"; ``before`` is what runs the server,
    for example ``("env", "LD_PRELOAD=...")``.
    """

    user = USER
    ended_by = signal.SIGQUIT  # at once, and with it every backend

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> None:
        """Choose the places; nothing is started yet."""
        super().__init__(folder)
        self._settings = (*QUIET, *settings)
        self._before = before

    def prepared(self) -> tuple[str | Path, ...]:
        """Make a cluster, unless there is one."""
        data = self.folder / "data"
        if not data.exists():
            shutil.chown(self.folder, USER)
            # Others have to find the way to what is theirs.
            self.folder.parent.chmod(0o711)
            self._run("initdb", "--no-sync", "--auth=trust", "-D", str(data))
        options = ["listen_addresses=", f"unix_socket_directories={self.folder}"]
        flags = [word for each in (*options, *self._settings) for word in ("-c", each)]
        return (*self._before, program("postgres"), "-D", data, *flags)

    def is_up(self) -> bool:
        """Tell whether it has said so."""
        return self.said("ready to accept connections") > 0

    def fork(self) -> None:
        """Connect once."""
        self.ask("SELECT 1")

    def ask(self, statement: str) -> str:
        """Return what a statement gives, in a connection of its own."""
        return self._run("psql", *self._where(), "-XqAt", "-c", statement).strip()

    def storm(self, connections: int) -> None:
        """Connect so often, one after the other, each for one statement."""
        script = self.folder / "script"
        script.write_text("SELECT 1;\n")
        counted = ("-n", "-C", "-t", str(connections), "-f", str(script))
        self._run("pgbench", *self._where(), *counted, USER)

    def _where(self) -> tuple[str, ...]:
        return ("-h", str(self.folder), "-U", USER)

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [program(name), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=USER,
            cwd=self.folder,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.splitlines() or ["it said nothing"])[-1]
            raise ForktraceError(f"{name} failed: {last}")
        return done.stdout


def program(name: str) -> Path:
    """Return a program of the newest PostgreSQL here; raises ForktraceError."""
    found = [path for path in PROGRAMS.glob(f"*/bin/{name}") if _version(path)]
    if not found:
        raise ForktraceError(
            f"There is no PostgreSQL with {name} on this machine.",
            "apt-get install postgresql",
        )
    return max(found, key=_version)


def _version(path: Path) -> int:
    name = path.parent.parent.name
    return int(name) if re.fullmatch(r"\d+", name) else 0
