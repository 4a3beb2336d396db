"""Grafana's own components, fetched once, with the page that draws by them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.lab.cache import cache_lock

HERE = Path(__file__).resolve().parent
LOCK = HERE / "package-lock.json"

_LOADED = ("--loader:.woff=dataurl", "--loader:.woff2=dataurl")
# Monaco is the editor of queries: 80 MB that no picture shows.
_LEFT_OUT = "--external:monaco-editor"


def bundle(folder: Path) -> None:
    """Leave ``page.js``, ``page.css`` and Grafana's icons in a folder."""
    modules = _modules()
    production = '--define:process.env.NODE_ENV="production"'
    command = [
        str(modules / ".bin/esbuild"),
        *(str(HERE / "page.jsx"), "--bundle", "--jsx=automatic", *_LOADED),
        *_commonjs(modules),
        *(_LEFT_OUT, production, f"--outdir={folder}", "--log-level=warning"),
    ]
    _run(command, {"NODE_PATH": str(modules)})
    shutil.copytree(modules / "@grafana/ui/dist/public", folder / "public")


def _modules() -> Path:
    """Return the folder of the packages that package-lock.json names."""
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    with cache_lock("npm-") as cache:
        home = cache / "npm" / version
        whole = home / "whole"
        if not whole.exists():
            home.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", LOCK.name):
                shutil.copy(HERE / name, home)
            options = ("--ignore-scripts", "--no-audit", "--no-fund")
            _run(["npm", "ci", "--prefix", str(home), *options])
            whole.touch()
    return home / "node_modules"


def _commonjs(modules: Path) -> list[str]:
    """Choose the form of Grafana's packages that finds others' default exports."""
    return [
        f"--alias:@grafana/{name}={modules / '@grafana' / name}/dist/cjs/index.cjs"
        for name in ("data", "ui")
    ]


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            check=False,
            text=True,
        )
    except FileNotFoundError:
        raise ForktraceError(
            f"There is no {command[0]} on this machine.", "Run: make pictures"
        ) from None
    if done.returncode != 0:
        raise ForktraceError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
