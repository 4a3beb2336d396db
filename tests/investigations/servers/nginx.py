"""An nginx of our own: its master forks workers when it reads its settings anew."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.investigations.servers.server import Server

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


class Nginx(Server):
    """A master with one worker."""

    def prepared(self) -> tuple[str | Path, ...]:
        """Write its settings."""
        settings = self.folder / "nginx.conf"
        settings.write_text(SETTINGS.format(folder=self.folder))
        name = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
        return (name, "-p", self.folder, "-c", settings)

    def is_up(self) -> bool:
        """Tell whether it has its worker."""
        return len(self._workers()) == 1

    def fork(self) -> None:
        """Read the settings anew: a new worker takes the place of the old one."""
        before = self._workers()
        os.kill(self.pid, signal.SIGHUP)

        def replaced() -> bool:
            now = self._workers()
            return len(now) == 1 and not now & before

        self.wait_until(replaced, "replace its worker")

    def _workers(self) -> set[int]:
        listed = Path(f"/proc/{self.pid}/task").glob("*/children")
        return {int(word) for file in listed for word in file.read_text().split()}
