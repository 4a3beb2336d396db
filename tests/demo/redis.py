"""A real redis-server of our own: started, filled, told to BGSAVE, ended.

Spoken to through Debian's redis-cli, which subprocess starts by vfork: nothing here
forks but the server.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.patience import PATIENCE

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Saved:
    """One BGSAVE as Redis tells it: its child, and how long fork() took, in ns."""

    child_pid: int
    fork_ns: int


class Redis:
    """A redis-server on a unix socket; a context manager, up on entry.

    ``folder`` holds its socket, log and snapshots and should be a tmpfs. ``before`` is
    what runs the server, for example ``("env", "LD_PRELOAD=...")``, and ``options``
    are more of the server's own. Raises ForktraceError where there is no redis-server
    or it does not answer.
    """

    def __init__(
        self, folder: Path, before: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        """Choose the places; nothing is started yet."""
        self._folder = folder
        self._before = before
        self._options = options
        self._socket = folder / "redis.sock"
        self._log = folder / "redis.log"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        """Start the server and wait for its first answer."""
        # Compressing and summing up the snapshot costs the child time, not the fork.
        options = (
            *("--port", "0", "--unixsocket", str(self._socket)),
            *("--dir", str(self._folder), "--save", "", "--logfile", str(self._log)),
            *("--rdbcompression", "no", "--rdbchecksum", "no"),
            *("--enable-debug-command", "yes", *self._options),
        )
        try:
            self._server = subprocess.Popen([*self._before, "redis-server", *options])
        except FileNotFoundError:
            raise ForktraceError(
                "There is no redis-server on this machine.",
                "apt-get install redis-server",
            ) from None
        try:
            self._await("eady to accept connections", 1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        if self._server:
            self._server.terminate()
            try:
                self._server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._server is not None, "it is not up"
        return self._server.pid

    def fill(self, keys: int, value_bytes: int) -> None:
        """Let the server make keys of its own; nothing travels over the socket."""
        said = self._cli("DEBUG", "POPULATE", str(keys), "key", str(value_bytes))
        if said != "OK":
            raise ForktraceError(f"redis-server does not fill itself: {said}")

    def take_precedence(self) -> None:
        """Let nothing run before Redis has stopped its clock after a fork.

        On one CPU the child or a tracer may else get its turn between the return of
        fork and Redis's reading of the time. The child itself is scheduled as usual.
        """
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(self.pid, policy, os.sched_param(1))

    def save(self) -> Saved:
        """Make one BGSAVE and wait until its child has written everything."""
        before = self._children()
        said = self._cli("BGSAVE")
        self._await("Background saving (terminated|error)", len(before) + 1)
        info = self.info()
        children = self._children()[len(before) :]
        done = (info["rdb_bgsave_in_progress"], info["rdb_last_bgsave_status"])
        if len(children) != 1 or done != ("0", "ok"):
            raise ForktraceError(f"redis-server could not BGSAVE: {said}")
        # It is not wanted, and the next one would need memory beside it.
        (self._folder / "dump.rdb").unlink()
        return Saved(children[0], int(info["latest_fork_usec"]) * 1000)

    def begin_to_save(self) -> int:
        """Start a BGSAVE and return its child, which is at work."""
        before = len(self._children())
        self._cli("BGSAVE")
        self._await("saving started by pid", before + 1)
        return self._children()[-1]

    def overwrite(self, keys: int, value: str) -> None:
        """Write to the first of the keys of ``fill``, in place, within the server."""
        script = (
            f"for key = 0, {keys - 1} do "
            "redis.call('setrange', 'key:' .. key, 0, ARGV[1]) end"
        )
        said = self._cli("EVAL", script, "0", value)
        if said:
            raise ForktraceError(f"redis-server does not write: {said}")

    def info(self) -> dict[str, str]:
        """Return what INFO tells."""
        pairs = (line.split(":", 1) for line in self._cli("INFO").splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def _children(self) -> list[int]:
        started = re.findall(r"saving started by pid (\d+)", self._said())
        return [int(pid) for pid in started]

    def _cli(self, *words: str) -> str:
        try:
            done = subprocess.run(
                ["redis-cli", "-s", str(self._socket), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise ForktraceError(f"redis-cli cannot be used: {error}") from None
        return done.stdout.strip()

    def _await(self, message: str, times: int) -> None:
        """Wait for the log to say it so often: cheaper than asking, under emulation."""
        deadline = time.monotonic() + PATIENCE
        while len(re.findall(message, self._said())) < times:
            if self._server is None or self._server.poll() is not None:
                last = (self._said().splitlines() or ["it said nothing"])[-1]
                raise ForktraceError(f"redis-server ended by itself: {last}")
            if time.monotonic() > deadline:
                raise ForktraceError(
                    f'redis-server did not log "{message}" in {PATIENCE:g} s.'
                )
            time.sleep(POLL_SECONDS)

    def _said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""
