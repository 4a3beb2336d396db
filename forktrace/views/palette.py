"""Colours that plots and tables share; each stands out on light and on dark ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from forktrace import bits

TRIGGERS: Mapping[str, str] = {
    bits.ANON_VMA: bits.ANON_VMA_COLOUR,
    **{bit.name: bit.colour for bit in bits.COPYING},
}
"""Of single flags: in plots, in tables and on the dashboards."""
# Of flags that come together, and of flags that are newer than this.
_COMBINED = ("#688922", "#b66586", "#5e7fbb", "#b36f2e", "#3c8f96")
PROCESSES = (
    "#2b9fc4",
    "#c75b52",
    "#86923a",
    "#a2689f",
    "#9a7863",
    "#4f8a68",
    "#7486d8",
)
"""Colours of process names, the costliest first; none is the colour of a trigger."""

NO_TRIGGER = "#868e9a"
"""What has no colour of its own."""

ON_COLOUR = "#0b1017"
"""Text on any of these colours."""


def of_trigger(name: str) -> str:
    """Return the colour of a trigger: always the same one, in every recording."""
    if not name or name.startswith("("):
        return NO_TRIGGER
    return (
        TRIGGERS.get(name)
        or _COMBINED[crc32(name.encode("utf-8", "replace")) % len(_COMBINED)]
    )


@dataclass(frozen=True)
class Theme:
    """What differs between light and dark: text, lines, neutral areas, a scale."""

    text: str
    quiet: str
    line: str
    area: str
    raised: str
    few: str
    many: str


THEMES: Mapping[str, Theme] = {
    "light": Theme(
        text="#1b2430", quiet="#566070", line="#e4e8ee", area="#ffffff",
        raised="#e9edf3", few="#e4e7ec", many="#4b5768",
    ),
    "dark": Theme(
        text="#e6eaf0", quiet="#9aa5b4", line="#2b323c", area="#181d24",
        raised="#2a323d", few="#262d37", many="#b3becc",
    ),
}  # fmt: skip
