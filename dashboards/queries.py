"""Every query of every panel and rule, as Prometheus is asked: for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent


class Query(NamedTuple):
    """Where a query stands, the query, and whether it is asked for one moment only."""

    where: str
    expression: str
    instant: bool = False


ANYTHING = {"__rate_interval": "1m", "job": ".+", "instance": ".+", "comm": ".+"}
"""Values of Grafana's variables that choose all there is."""


def panels(values: Mapping[str, str] = ANYTHING) -> Iterator[Query]:
    """Yield each panel's queries with Grafana's variables replaced by these."""
    for path in sorted(HERE.glob("*.json")):
        for panel in all_panels(json.loads(path.read_text())):
            for target in panel.get("targets", ()):
                expression = substituted(target["expr"], values)
                instant = target.get("instant", False)
                yield Query(f"{path.stem}: {panel['title']}", expression, instant)


def marks(values: Mapping[str, str] = ANYTHING) -> Iterator[Query]:
    """Yield the queries of the marks on each dashboard; they may have no answer."""
    for path in sorted(HERE.glob("*.json")):
        for each in json.loads(path.read_text())["annotations"]["list"]:
            expression = substituted(each["expr"], values)
            yield Query(f"{path.stem}: {each['name']}", expression)


LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
"""What a variable asks for: a selector, and the label whose values it offers."""


def choices(values: Mapping[str, str] = ANYTHING) -> Iterator[Query]:
    """Yield the selectors that each dashboard's variables take their values from."""
    for path in sorted(HERE.glob("*.json")):
        for each in json.loads(path.read_text())["templating"]["list"]:
            if found := LABEL_VALUES.fullmatch(each["query"]):
                expression = substituted(found[1], values)
                yield Query(f"{path.stem}: {each['name']}", expression)


def substituted(expression: str, values: Mapping[str, str]) -> str:
    """Return an expression with Grafana's variables replaced by these."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


def all_panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a dashboard's panels, those in rows too, but not the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def rules() -> Iterator[Query]:
    """Yield each recording rule's and alert's expression."""
    for rule in all_rules():
        yield Query(rule.get("record") or rule["alert"], rule["expr"])


def all_rules() -> Iterator[dict[str, Any]]:
    """Yield each rule as it stands in its file."""
    for path in sorted((HERE / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]
