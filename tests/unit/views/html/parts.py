"""What a page, or a piece of one, is made of."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Parts(HTMLParser):
    """Tags, and the text of what is not a script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def plots(self) -> dict[str, Any]:
        drawn: dict[str, Any] = json.loads(self.scripts[1]) if self.scripts else {}
        return drawn
