"""Who copied, why and where: the cost divided by process, trigger and mapping."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import plotly.graph_objects as go

from forktrace.report.names import ANONYMOUS
from forktrace.report.study import Group, Share, Study
from forktrace.text import printable
from forktrace.views import palette
from forktrace.views.plots.figure import Paths, Plot, new_figure, shown
from forktrace.views.report import group_label
from forktrace.views.units import counted, duration, fitting

_PROCESSES = 12
_MAPPINGS = 8
_NARROW_COLUMNS = 3


def icicle_plot(study: Study) -> Plot:
    """Return whose copying took how long, by which trigger, in which mapping."""
    tree = Tree()
    root = tree.add("", "all copying", study.copies.sum, None)
    shares: dict[tuple[str, str], list[Share]] = defaultdict(list)
    for share in study.shares:
        shares[share.comm, share.trigger].append(share)
    for group in study.processes[:_PROCESSES]:
        if group.copy_ns:
            _add_process(tree, root, group, shares)
    rest = study.processes[_PROCESSES:]
    if copied := sum(group.copy_ns for group in rest):
        names = sum(group.names for group in rest)
        tree.add(root, counted(names, "more name"), copied, None)
    return icicle([Layer(tree, "h", 4)])


@dataclass
class Tree:
    """Nodes of an icicle: every list has one entry a node."""

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # None: a neutral colour, which depends on the theme.
    colours: list[str | None] = field(default_factory=list)

    def add(
        self, parent: str, label: str, value: int, colour: str | None, note: str = ""
    ) -> str:
        """Add a node, a time with a note to it, and return its id."""
        return self.add_told(parent, label, value, colour, duration(value), note)

    def add_told(
        self,
        parent: str,
        label: str,
        value: int,
        colour: str | None,
        told: str,
        note: str = "",
    ) -> str:
        """Add a node that tells its value in other words."""
        made = str(len(self.ids))
        self.ids.append(made)
        self.labels.append(label)
        self.parents.append(parent)
        self.values.append(value)
        self.told.append(told)
        self.notes.append(note)
        self.colours.append(colour)
        return made


class Layer(NamedTuple):
    """A tree to be drawn, and in which way; ``depth`` levels of it at once.

    With ``meta`` it is shown when that is chosen on the page.
    """

    tree: Tree
    orientation: Literal["h", "v"]
    depth: int
    meta: str | None = None


def icicle(layers: Sequence[Layer]) -> Plot:
    """Draw trees, one of them at a time."""
    figure = new_figure(
        go.Icicle(
            ids=tree.ids,
            labels=tree.labels,
            parents=tree.parents,
            values=tree.values,
            text=tree.told,
            customdata=tree.notes,
            branchvalues="total",
            sort=False,
            tiling={"orientation": orientation, "pad": 2},
            leaf={"opacity": 1},
            texttemplate="%{label}<br>%{text}%{customdata}",
            hovertemplate="%{label}<br>%{text}%{customdata}, %{percentRoot:.1%} of all"
            "<extra></extra>",
            pathbar={"visible": False},
            maxdepth=depth,
            meta=meta,
        )
        for tree, orientation, depth, meta in layers
    )
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 8, "b": 8},
        # What cannot be read is better left out.
        uniformtext={"minsize": 10, "mode": "hide"},
    )
    return Plot(
        figure,
        {at: _colours(layer.tree) for at, layer in enumerate(layers)},
        # Fewer columns beside each other, or no name would fit.
        {"uniformtext.minsize": 9},
        {
            at: {
                "maxdepth": min(layer.depth, _NARROW_COLUMNS)
                if layer.orientation == "h"
                else layer.depth,
                "texttemplate": "%{label}<br>%{text}",
            }
            for at, layer in enumerate(layers)
        },
    )


def _colours(tree: Tree) -> dict[str, Paths]:
    return {
        name: {
            "marker.colors": [colour or theme.raised for colour in tree.colours],
            "marker.line.color": theme.area,
            "textfont.color": [
                theme.text if colour is None else palette.ON_COLOUR
                for colour in tree.colours
            ],
        }
        for name, theme in palette.THEMES.items()
    }


def _add_process(
    tree: Tree,
    root: str,
    group: Group,
    shares: Mapping[tuple[str, str], Sequence[Share]],
) -> None:
    count = f", {counted(group.forks, 'fork')}"
    process = tree.add(
        root, html.escape(group_label(group)), group.copy_ns, None, count
    )
    for name, copy_ns in group.triggers.items():
        if not copy_ns:
            continue
        colour = palette.of_trigger(name)
        trigger = tree.add(process, shown(name), copy_ns, colour)
        _add_mappings(
            tree, trigger, copy_ns, colour, shares.get((group.name, name), ())
        )


def _add_mappings(
    tree: Tree, trigger: str, copy_ns: int, colour: str, shares: Sequence[Share]
) -> None:
    """Divide a trigger's cost as it was divided in the forks whose VMAs were kept."""
    whole = sum(share.copy_ns for share in shares)
    if not whole:
        return
    left = copy_ns
    for share in shares[:_MAPPINGS]:
        # Rounded down, or the parts could exceed the whole, which plotly refuses.
        part = copy_ns * share.copy_ns // whole
        left -= part
        if part:
            tree.add(trigger, mapping_label(share.mapping), part, colour)
    if len(shares) > _MAPPINGS and left > 0:
        count = len(shares) - _MAPPINGS
        tree.add(trigger, counted(count, "more mapping"), left, colour)


def mapping_label(name: str) -> str:
    """Return the end of a mapping's name, which tells most."""
    if name == ANONYMOUS:
        return "anonymous memory"
    return html.escape(fitting(printable(name), 40))
