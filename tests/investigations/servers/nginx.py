"""An nginx of our own: its master forks workers when it reads its settings anew."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from tests.investigations.servers.waiting import Started, children

# The zone is shared memory, as a busy server has it for its limits and caches.
SETTINGS = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $binary_remote_addr zone=all:64m rate=10r/s;
    server {{ listen unix:{folder}/socket; limit_req zone=all; return 204; }}
}}
"""


class Nginx:
    """A master with one worker; a context manager, up on entry."""

    def __init__(self, folder: Path) -> None:
        """Choose the places; nothing is started yet."""
        self._folder = folder / "nginx"
        self._master: Started | None = None

    def __enter__(self) -> Nginx:
        """Start it and have it read its settings once more."""
        self._folder.mkdir()
        settings = self._folder / "nginx.conf"
        settings.write_text(SETTINGS.format(folder=self._folder))
        name = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
        command = [name, "-p", str(self._folder), "-c", str(settings)]
        self._master = Started(self._folder / "log", command)
        try:
            self._master.await_true(lambda: len(children(self.pid)) == 1, "fork")
            self.fork()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End master and worker."""
        if self._master:
            self._master.end()

    @property
    def pid(self) -> int:
        """The master."""
        assert self._master is not None, "it is not up"
        return self._master.pid

    def fork(self) -> None:
        """Read the settings anew: a new worker takes the place of the old one."""
        assert self._master is not None, "it is not up"
        before = children(self.pid)
        self._master.process.send_signal(signal.SIGHUP)

        def replaced() -> bool:
            now = children(self.pid)
            return len(now) == 1 and not now & before

        self._master.await_true(replaced, "replace its worker")
