"""The web configuration file, in the format Prometheus exporters share."""

from __future__ import annotations

import ssl
from pathlib import Path

import bcrypt
import pytest

from forktrace.errors import EXIT_FAILED, ForktraceError
from forktrace.exporter.webconfig import WatchedWebConfig, WebConfig, read_web_config
from tests.unit.exporter.certificates import self_signed

# The same in every worker, since it is part of a test's name.
HASH = bcrypt.hashpw(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode()
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("web")
    self_signed(directory)
    self_signed(directory, "stranger")
    (directory / "junk.key").write_text("junk\n")
    return directory


def read(base: Path, text: str) -> WebConfig:
    file = base / "web.yml"
    file.write_text(text)
    return read_web_config(file)


def test_an_empty_file_asks_for_nothing(base: Path) -> None:
    config = read(base, "")
    assert config.tls is None
    assert not config.users


def test_all_that_the_format_knows(base: Path) -> None:
    config = read(
        base,
        f"""
tls_server_config:
  cert_file: server.crt
  key_file: {base / "server.key"}
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: server.crt
  client_allowed_sans: [localhost]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=600
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1s
  burst: 20
""",
    )
    assert config.tls is not None
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_3
    assert config.allowed_sans == ("localhost",)
    assert config.users == {"alice": HASH}
    assert config.headers == {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=600",
    }
    assert (config.rate_limit.interval, config.rate_limit.burst) == (1, 20)


def test_tls_1_2_is_the_least_by_default(base: Path) -> None:
    config = read(base, TLS + "}")
    assert config.tls is not None
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_2


def test_certificate_and_key_may_stand_in_the_file_itself(base: Path) -> None:
    certificate, key = (base / name for name in ("server.crt", "server.key"))
    text = "tls_server_config:\n"
    for name, file in (("cert", certificate), ("key", key)):
        block = file.read_text().replace("\n", "\n    ").rstrip()
        text += f"  {name}: |\n    {block}\n"
    assert read(base, text).tls is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls_config: {}", "unknown field 'tls_config' in the file"),
        (TLS + ", cert_fil: x}", "unknown field 'cert_fil' in tls_server_config"),
        ("http_server_config: {http3: true}", "unknown field 'http3'"),
        ("http_server_config: {headers: {X-Evil: x}}", "unknown field 'X-Evil'"),
        ("http_server_config: {http2: maybe}", "http2 must be true or false"),
        ("rate_limit: {rate: 1}", "unknown field 'rate' in rate_limit"),
        ("rate_limit: {interval: soon}", "'soon' is not a duration"),
        ("rate_limit: {interval: 1s, burst: many}", "burst must be a number"),
        ("basic_auth_users: {alice: secret}", "'alice' is not a bcrypt hash"),
        ("basic_auth_users: {alice: 5}", "'alice' is not a bcrypt hash"),
        ("basic_auth_users: [alice]", "basic_auth_users must hold names and values"),
        (f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}", "'a' stands there twice"),
        ("- a list", "the file must hold names and values"),
        ("a: b: c", "no valid YAML in line 1"),
        (
            "tls_server_config: {cert_file: server.crt}",
            "missing one of key or key_file",
        ),
        (
            "tls_server_config: {key_file: server.key}",
            "missing one of cert or cert_file",
        ),
        (
            "tls_server_config: {cert_file: no.crt, key_file: server.key}",
            "no.crt: No such file or directory",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: stranger.key}",
            "KEY_VALUES_MISMATCH",
        ),
        ("tls_server_config: {cert_file: server.crt, key_file: junk.key}", "PEM"),
        (TLS + ", min_version: TLS14}", "unknown TLS version 'TLS14'"),
        (TLS + ", min_version: 1.2}", "unknown TLS version '1.2'"),
        (TLS + ", min_version: TLS10}", "TLS10 is not offered any more"),
        (TLS + ", max_version: TLS11}", "TLS11 is not offered any more"),
        (
            TLS + ", min_version: TLS13, max_version: TLS12}",
            "min_version is above max_version",
        ),
        (
            TLS + ", max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            "cipher_suites has none for TLS12",
        ),
        (TLS + ", curve_preferences: [CurveP256, CurveP384]}", "only one"),
        (TLS + ", curve_preferences: [X25519]}", "can be CurveP256, CurveP384"),
        (TLS + ", cipher_suites: [TLS_MADE_UP]}", "unknown cipher 'TLS_MADE_UP'"),
        (TLS + ", curve_preferences: [P1]}", "unknown curve 'P1'"),
        (TLS + ", client_auth_type: Maybe}", "invalid client_auth_type 'Maybe'"),
        (TLS + ", client_auth_type: RequireAnyClientCert}", "not supported"),
        (TLS + ", client_ca_file: server.crt}", "without a client_auth_type"),
        (TLS + ", client_auth_type: RequireClientCert}", "not supported"),
        (
            TLS + ", client_auth_type: RequireAndVerifyClientCert,"
            " client_allowed_sans: []}",
            "nobody could get in",
        ),
        (TLS + ", client_allowed_sans: [a]}", "client_allowed_sans needs"),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}',
            "must be one line",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}",
            "X-Frame-Options must be deny or sameorigin",
        ),
    ],
)
def test_a_bad_file_is_one_clear_line(base: Path, text: str, problem: str) -> None:
    with pytest.raises(ForktraceError) as caught:
        read(base, text)
    message = caught.value.message
    assert message.startswith(f"Cannot use the web configuration file {base}")
    assert problem in message
    assert "\n" not in message
    assert caught.value.exit_status == EXIT_FAILED


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ForktraceError, match=r"web\.yml: No such file or directory"):
        read_web_config(tmp_path / "web.yml")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("")
    watched = WatchedWebConfig(file)
    assert not watched.now().users
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    assert watched.now().users == {"alice": HASH}


def test_a_changed_certificate_is_loaded_again(tmp_path: Path) -> None:
    self_signed(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text(TLS + "}")
    watched = WatchedWebConfig(file)
    before = watched.now().tls
    assert watched.now().tls is before, "unchanged files are not loaded again"
    self_signed(tmp_path)
    assert watched.now().tls is not before


@pytest.mark.parametrize("broken", ["nonsense: 1", TLS + "}"])
def test_a_change_that_cannot_be_used_is_logged_once_and_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    self_signed(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    watched = WatchedWebConfig(file)
    file.write_text(broken)
    for _ in range(3):
        assert watched.now().users == {"alice": HASH}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("The former configuration stays.\n")


def test_scalars_are_strings_where_strings_are_wanted(base: Path) -> None:
    """As Go reads them: a user called 123 or yes, a header that is a number."""
    config = read(
        base,
        f"""
basic_auth_users:
  123: {HASH}
  yes: {HASH}
  2026-01-01: {HASH}
http_server_config:
  http2: off
  headers: {{X-XSS-Protection: 1, Content-Security-Policy: null}}
""",
    )
    assert list(config.users) == ["123", "yes", "2026-01-01"]
    assert config.headers == {"X-XSS-Protection": "1"}


@pytest.mark.parametrize("empty", ["", "~", "null"])
def test_what_is_empty_asks_for_nothing(base: Path, empty: str) -> None:
    sections = ("tls_server_config", "http_server_config", "basic_auth_users")
    text = "".join(f"{section}: {empty}\n" for section in (*sections, "rate_limit"))
    assert read(base, text) == WebConfig()
    assert read(base, TLS + f", client_allowed_sans: {empty}}}").allowed_sans == ()


@pytest.mark.parametrize(
    "policy", ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]
)
def test_without_a_ca_the_systems_are_asked(base: Path, policy: str) -> None:
    config = read(base, TLS + f", client_auth_type: {policy}}}")
    assert config.tls is not None
    assert config.tls.verify_mode is not ssl.CERT_NONE
    assert config.tls.cert_store_stats() == default_store()


def default_store() -> dict[str, int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context.cert_store_stats()
