"""A real browser opens the page for people: it is content, and asks again by itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.page import landing_page
from forktrace.exporter.web import Content, Server
from tests.patience import PATIENCE, wait_until
from tests.unit.exporter import samples

RULE = "copy if dst has PFNMAP|MIXEDMAP,\nor src has an anon_vma"

pytestmark = pytest.mark.skipif(
    not shutil.which("chromium"), reason="chromium is not installed"
)


@pytest.fixture
def served() -> list[str]:
    """Every page that was served."""
    return []


@pytest.fixture
def server(served: list[str]) -> Iterator[Server]:
    def page() -> str:
        html = landing_page(samples.INFO, RULE, samples.totals(), samples.forks())
        served.append(html)
        return html

    registry = new_registry(ForktraceCollector(samples.totals, lambda: samples.INFO))
    running = Server([listen("127.0.0.1:0")], Content(registry, page, lambda: None))
    yield running
    running.close()


def command(server: Server, folder: Path, *more: str) -> list[str]:
    """Return how to open the page in a browser of its own."""
    return [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-sync"),
        *("--disable-component-update", "--enable-logging=stderr"),
        # What a browser wants of its maker is no part of the test.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *(f"--user-data-dir={folder}/profile", *more),
        f"http://127.0.0.1:{server.port}/",
    ]


def browse(server: Server, folder: Path) -> tuple[str, str]:
    """Open the page in a browser; return the document, and what the browser logged."""
    dump = command(server, folder, "--dump-dom")
    run = subprocess.run(
        dump, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return run.stdout, run.stderr


def test_a_browser_shows_it_without_a_complaint(server: Server, tmp_path: Path) -> None:
    document, log = browse(server, tmp_path)
    assert "CONSOLE" not in log
    assert "read from this kernel's own code" in document
    assert "pfnmap+mixedmap" in document
    assert "redis-server" in document


def test_it_renews_itself(
    served: list[str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forktrace.exporter.page.REFRESH_SECONDS", 1)
    stays = command(server, tmp_path, "--remote-debugging-port=0")
    with (tmp_path / "log").open("wb") as log:
        browser = subprocess.Popen(stays, stderr=log)
    try:
        wait_until(lambda: len(served) >= 3)
    finally:
        browser.terminate()
        browser.wait(PATIENCE)
    assert "CONSOLE" not in (tmp_path / "log").read_text()


def test_something_that_the_page_may_not_load_would_be_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forktrace.exporter.web._PAGE_POLICY", "default-src 'none'")
    assert "CONSOLE" in browse(server, tmp_path)[1]
