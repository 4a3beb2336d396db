"""Plain data: the functions that called fork."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forktrace.fields import hex_of, text_of


@dataclass(frozen=True)
class Frame:
    """One function under way.

    ``address`` lies in it: behind the call that it is in, one byte before. ``module``
    is the file that holds it, as the process names it, and ``function`` its name; each
    is empty where it is not known. The kernel's system call is in ``[kernel]``.
    """

    function: str
    module: str
    address: int

    def to_json(self) -> dict[str, Any]:
        """Return one entry of ``frames``."""
        return {
            "function": self.function,
            "module": self.module,
            "address": f"{self.address:#x}",
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Frame:
        """Return what ``to_json`` made this of."""
        return cls(
            function=text_of(record, "function"),
            module=text_of(record, "module"),
            address=hex_of(record, "address"),
        )


@dataclass(frozen=True)
class Stack:
    """Who called fork, the innermost frame first.

    ``cut``: there were more frames than were read.
    """

    frames: tuple[Frame, ...]
    cut: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the ``stack`` object."""
        frames = [frame.to_json() for frame in self.frames]
        return {"frames": frames, "cut": self.cut}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Stack:
        """Return what ``to_json`` made this of."""
        frames = tuple(map(Frame.from_json, record["frames"]))
        return cls(frames, bool(record["cut"]))
