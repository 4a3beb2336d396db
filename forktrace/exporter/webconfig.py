"""Reads ``--web.config.file``: TLS, basic auth and headers, as Prometheus writes them.

The format is that of Prometheus's exporter-toolkit (docs/web-configuration.md there),
so a file that serves node_exporter serves forktrace. ``http2`` is accepted and has no
effect: the server speaks HTTP/1.1.
"""

from __future__ import annotations

import os
import re
import reprlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from forktrace.errors import ForktraceError
from forktrace.exporter.basicauth import is_bcrypt_hash
from forktrace.exporter.ratelimit import RateLimit, parse_duration
from forktrace.exporter.tls import TlsSettings, new_context
from forktrace.log import logger

_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""The headers the format knows, with the values allowed where not every one is."""

_LISTS = ("client_allowed_sans", "cipher_suites", "curve_preferences")
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("y", "yes", "on", "true")
_FALSE = ("n", "no", "off", "false")


@dataclass(frozen=True)
class WebConfig:
    """What a web configuration file asks for. The default asks for nothing."""

    tls: ssl.SSLContext | None = None
    allowed_sans: tuple[str, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    files: tuple[Path, ...] = ()


def read_web_config(path: Path) -> WebConfig:
    """Return what the file asks for, its certificates loaded. Raises ForktraceError."""
    try:
        return _read(path)
    except OSError as error:
        reason = str(error) if isinstance(error, ssl.SSLError) else error.strerror
        about = error.filename if error.filename not in (None, str(path)) else None
        problem = f"{about}: {reason}" if about else str(reason)
    except ValueError as error:
        problem = str(error)
    raise ForktraceError(
        f"Cannot use the web configuration file {path}: {problem}.",
        "Its format is that of Prometheus's exporter-toolkit.",
    )


class WatchedWebConfig:
    """The configuration now: the file and its certificates, read again on change.

    A change that cannot be used is logged once and the former configuration stays.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file for the first time. Raises ForktraceError."""
        self._path = path
        self._lock = Lock()
        self._config = read_web_config(path) if path else WebConfig()
        self._seen = self._fingerprint()

    def now(self) -> WebConfig:
        """Return the configuration for the connection or request at hand."""
        if self._path is None:
            return self._config
        with self._lock:
            fingerprint = self._fingerprint()
            if fingerprint != self._seen:
                self._seen = fingerprint
                self._read_again(self._path)
            return self._config

    def _read_again(self, path: Path) -> None:
        try:
            config = read_web_config(path)
            if (config.tls is None) != (self._config.tls is None):
                raise ForktraceError(
                    "Turning TLS on or off takes a restart of forktrace."
                )
        except ForktraceError as error:
            logger.error("%s The former configuration stays.", error.message)
        else:
            same_files = config.files == self._config.files
            self._config = config
            if not same_files:
                self._seen = self._fingerprint()
            logger.info("Read %s again.", path)

    def _fingerprint(self) -> list[tuple[int, ...] | None]:
        paths = (self._path, *self._config.files) if self._path else ()
        return [_stamp(path) for path in paths if path]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _read(path: Path) -> WebConfig:
    content = _parse(path.read_bytes())
    sections = _mapping(content, "the file")
    _refuse_unknown(
        sections,
        ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"),
        "the file",
    )
    tls = _tls_settings(
        _mapping(sections.get("tls_server_config"), "tls_server_config"), path.parent
    )
    http = _mapping(sections.get("http_server_config"), "http_server_config")
    _refuse_unknown(http, ("http2", "headers"), "http_server_config")
    _boolean(http.get("http2"), "http2")
    return WebConfig(
        tls=new_context(tls) if tls else None,
        allowed_sans=(tls.client_allowed_sans or ()) if tls else (),
        users=_users(_mapping(sections.get("basic_auth_users"), "basic_auth_users")),
        headers=_headers(_mapping(http.get("headers"), "headers")),
        rate_limit=_rate_limit(_mapping(sections.get("rate_limit"), "rate_limit")),
        files=tuple(tls.files) if tls else (),
    )


def _parse(content: bytes) -> object:
    _need("yaml", "PyYAML")
    import yaml  # noqa: PLC0415 - costs memory, and only those who use it pay

    class Strict(yaml.BaseLoader):
        """Leaves scalars as they are written, as Go does where a string is wanted.

        Refuses a key that stands twice, where YAML would take the last one.
        """

        def construct_scalar(self, node: yaml.ScalarNode) -> Any:
            plain = node.style is None
            return (
                None
                if plain and node.value in _NULLS
                else super().construct_scalar(node)
            )

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            # Other keys than scalars are of no use here, and costly to compare.
            scalars = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            keys = [key.value for key in scalars]
            twice = [key for key in keys if keys.count(key) > 1]
            if twice:
                raise ValueError(f"{reprlib.repr(twice[0])} stands there twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(content, Strict)
    except ValueError:
        raise
    # A value of another type than its tag says makes PyYAML trip in many ways.
    except Exception as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"no valid YAML{where}") from error


def _tls_settings(section: dict[str, Any], base: Path) -> TlsSettings | None:
    defaults = {entry.name: entry.default for entry in fields(TlsSettings)}
    _refuse_unknown(section, tuple(defaults), "tls_server_config")
    values: dict[str, Any] = {}
    for name, value in section.items():
        if value is None:
            continue
        if name.endswith("_file"):
            text = _string(value, name)
            values[name] = base / text if text else None
        elif name in _LISTS:
            values[name] = _strings(value, name)
        elif isinstance(defaults[name], bool):
            values[name] = _boolean(value, name)
        else:
            values[name] = _string(value, name)
    settings = TlsSettings(**values)
    # As in exporter-toolkit: versions and ciphers alone do not turn TLS on.
    inline = (settings.cert, settings.key, settings.client_ca)
    asked = settings.files or any(inline) or settings.client_auth_type
    return settings if asked else None


def _users(section: dict[str, Any]) -> dict[str, str]:
    if section:
        _need("bcrypt", "bcrypt")
    for name, stored in section.items():
        if not isinstance(stored, str) or not is_bcrypt_hash(stored):
            raise ValueError(
                f"the password of user {reprlib.repr(name)} is not a bcrypt hash"
            )
    return section


def _headers(section: dict[str, Any]) -> dict[str, str]:
    _refuse_unknown(section, tuple(_HEADERS), "headers")
    given = {name: value for name, value in section.items() if value is not None}
    for name, value in given.items():
        text = _string(value, name)
        if "\n" in text or "\r" in text or not text.isascii():
            raise ValueError(f"{name} must be one line of ASCII")
        if text and _HEADERS[name] and text not in _HEADERS[name]:
            raise ValueError(f"{name} must be {' or '.join(_HEADERS[name])}")
    return {name: value for name, value in given.items() if value}


def _rate_limit(section: dict[str, Any]) -> RateLimit:
    _refuse_unknown(section, ("interval", "burst"), "rate_limit")
    burst = section.get("burst") or "0"
    if not isinstance(burst, str) or not re.fullmatch(r"[0-9]{1,18}", burst):
        raise ValueError("burst must be a number of requests")
    return RateLimit(parse_duration(section.get("interval") or "0"), int(burst))


def _need(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise ValueError(f"this needs the Python package {package}")


def _mapping(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} must hold names and values")
    return value


def _refuse_unknown(
    section: Mapping[str, Any], known: tuple[str, ...], name: str
) -> None:
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise ValueError(f"unknown field {reprlib.repr(unknown[0])} in {name}")


def _boolean(value: object, name: str) -> bool:
    text = value.lower() if isinstance(value, str) else value
    if text not in (*_TRUE, *_FALSE, None):
        raise ValueError(f"{name} must be true or false")
    return text in _TRUE


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string")
    return value


def _strings(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list of strings")
    return tuple(_string(entry, name) for entry in value)
