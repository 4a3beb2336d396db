"""On a telephone, 390 pixels wide, nothing is cut off and only tables are scrolled."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from forktrace.model import Fork
from forktrace.report.study import Study
from forktrace.views.html.page import page
from tests.unit.recording.samples import DETAILED, MS, STACK, fork
from tests.unit.views.html.browser import BROWSER, browse
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import study_of

WIDTH = 390
ID = "0123456789abcdef" * 4
UUID = "0f6b3c9d_1d2e_4c33_9b1a_77d0c8a1e5f2"
POD = f"/kubepods.slice/kubepods-pod{UUID}.slice/cri-containerd-{ID}.scope"

# A window may not be as narrow as a telephone; a frame may.
_FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<iframe style="width: %dpx; height: 8000px; border: 0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.srcdoc = %s;
const within = (inner, outer) =>
  inner.left >= outer.left - 1 && inner.right <= outer.right + 1;
// Plotly hides labels for which there is no room.
const shown = (text) => text.textContent.trim() && getComputedStyle(text).opacity > 0 &&
  text.getBoundingClientRect().width;
const told = (each) => `${each.tagName} ${each.className} ${each.textContent}`;
function look(page) {
  const all = [...page.querySelectorAll("main *:not(svg *)")];
  const wide = all.filter((each) => !each.closest(".scroll") &&
    !within(each.getBoundingClientRect(), { left: 0, right: %d }));
  const cut = [], over = [];
  for (const plot of page.querySelectorAll(".plot")) {
    const room = plot.getBoundingClientRect();
    const texts = [...plot.querySelectorAll("svg text")].filter(shown);
    for (const text of texts) {
      const place = text.getBoundingClientRect();
      const inside = within(place, room) && place.top >= room.top - 1 &&
        place.bottom <= room.bottom + 1;
      if (!inside) cut.push(text);
    }
    const ticks = texts.filter((text) => text.closest(".xtick"))
      .map((text) => ({ text, place: text.getBoundingClientRect() }))
      .sort((one, other) => one.place.left - other.place.left);
    for (let at = 1; at < ticks.length; at++)
      if (ticks[at].place.left < ticks[at - 1].place.right)
        over.push(ticks[at].text.textContent);
  }
  const names = [...page.querySelectorAll("#icicle svg text")]
    .filter(shown)
    .map((each) => each.textContent);
  return { wide: wide.map(told), cut: cut.map(told), over, names };
}
const waiting = setInterval(() => {
  const page = frame.contentDocument;
  if (!page?.documentElement?.dataset.drawn) return;
  clearInterval(waiting);
  setTimeout(() => {
    document.documentElement.dataset.seen = JSON.stringify(look(page));
  }, 500);
}, 50);
</script>
"""


def seen(study: Study, folder: Path) -> dict[str, Any]:
    """Return what a browser finds too wide, and which names the icicle shows."""
    text = json.dumps(page(study)).replace("</", "<\\/")
    host = folder / "host.html"
    host.write_text(_FRAME % (WIDTH, text, WIDTH), encoding="utf-8")
    document, complaints = browse(host, folder, "light")
    assert complaints == []
    ((_, attributes),) = [each for each in Parts(document).tags if each[0] == "html"]
    found: dict[str, Any] = json.loads(unescape(attributes["data-seen"] or ""))
    return found


def rich() -> list[Fork]:
    forks = [
        replace(
            fork(n, (n % 40 + 1) * MS * MS // (1 + n * n), comm=comm, trigger=trigger),
            cgroup=POD,
        )
        for n, (comm, trigger) in enumerate(
            [
                ("redis-server", "pfnmap+mixedmap"),
                ("containerd-shim", "uffd_wp+maybe_guard"),
                ("postgres", "maybe_guard"),
                ("kworker-job-abc", "anon_vma"),
            ]
            * 20
        )
    ]
    failed = replace(fork(90, comm="sh", cgroup=POD), outcome="failed", errno="EAGAIN")
    return [replace(DETAILED, stack=STACK, cgroup=POD), *forks, failed]


@pytest.mark.skipif(not BROWSER, reason="chromium is not installed")
@pytest.mark.parametrize("forks", [rich(), [DETAILED]], ids=["many", "one"])
def test_nothing_is_wider_than_a_telephone(tmp_path: Path, forks: list[Fork]) -> None:
    found = seen(study_of(tmp_path, forks), tmp_path)
    assert found["wide"] == []
    assert found["cut"] == []
    assert found["over"] == []
    assert any(name.startswith("redis-server") for name in found["names"])
