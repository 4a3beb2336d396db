"""The page for people: what it says, and that nothing in it can do harm."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from forktrace.exporter.page import LATEST_FORKS, landing_page
from forktrace.model import TriggerCost
from tests.unit.exporter import samples

RULE = "VMAs whose copy in the child has VM_PFNMAP & friends,\nand those with anon_vma."


class Text(HTMLParser):
    """Collects tags and the text a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def page() -> str:
    return landing_page(samples.INFO, RULE, samples.totals(), samples.forks())


def test_it_tells_the_rule_of_this_kernel_and_where_it_was_read() -> None:
    words = Text(page()).words
    assert "7.3.4-cloud-amd64" in words
    assert RULE in words
    assert "read from this kernel's own code" in words
    assert "0x80010001c00" in words


def test_it_tells_the_totals_by_trigger() -> None:
    words = re.sub(r"\s+", " ", Text(page()).words)
    assert "pfnmap+mixedmap no 92 1.50 s 8 KiB" in words
    assert "anon_vma yes 713 2.50 s 3.91 MiB" in words


def test_it_tells_the_latest_forks() -> None:
    words = re.sub(r"\s+", " ", Text(page()).words)
    assert "redis-server 815 4709 12.4 ms 11.9 ms 2.16 MiB 31 of 44" in words
    assert "4711 ENOMEM 91 µs" in words


def test_a_name_is_text_whatever_stands_in_it() -> None:
    html = page()
    assert "&lt;b&gt;evil\\n" in html
    assert "b" not in Text(html).tags


def test_a_name_with_surrogates_still_makes_a_page() -> None:
    fork = dataclasses.replace(samples.forks()[0], comm="\udcff")
    landing_page(samples.INFO, RULE, samples.totals(), [fork]).encode()


def test_it_renews_itself_and_loads_nothing() -> None:
    html = page()
    assert '<meta http-equiv="refresh" content="5">' in html
    assert not re.search(r"(src|url\()|https?:|<script|@import", html)
    assert "prefers-color-scheme:dark" in html


def test_disagreements_and_losses_stand_out() -> None:
    html = page()
    assert '<span class="warn">1 disagree</span>' in html
    assert '<span class="warn">7 events</span>' in html


def test_before_the_first_fork_it_says_so() -> None:
    totals = dataclasses.replace(
        samples.totals(), triggers=(TriggerCost("anon_vma", True, 0, 0, 0),)
    )
    words = Text(landing_page(samples.INFO, RULE, totals)).words
    assert "Nothing was copied yet." in words
    assert "None seen yet." in words


def test_it_shows_a_bounded_number_of_forks() -> None:
    many = samples.forks() * LATEST_FORKS
    html = landing_page(samples.INFO, RULE, samples.totals(), many)
    assert html.count("<tr>") == LATEST_FORKS + len(samples.totals().triggers) + 2
