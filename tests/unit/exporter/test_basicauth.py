"""Basic authentication: who is let in."""

from __future__ import annotations

import base64

import bcrypt
import pytest

from forktrace.exporter.basicauth import BasicAuth, is_bcrypt_hash


def hashed(password: bytes, rounds: int = 4) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(rounds)).decode()


def header(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


USERS = {"alice": hashed(b"secret"), "bob": hashed("pass:wörd".encode())}


@pytest.mark.parametrize("credentials", [b"alice:secret", "bob:pass:wörd".encode()])
def test_the_right_password_is_let_in(credentials: bytes) -> None:
    auth = BasicAuth()
    assert auth.allows(USERS, header(credentials))
    assert auth.allows(USERS, header(credentials)), "and again, from memory"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer abc",
        header(b"alice"),
        header(b"alice:wrong"),
        header(b"alice:"),
        header(b"alice:secret\0"),
        header(b"nobody:secret"),
        header(b"bob:secret"),
        header(b"\xff:\xff"),
    ],
)
def test_everybody_else_is_kept_out(authorization: str | None) -> None:
    auth = BasicAuth()
    assert not auth.allows(USERS, authorization)
    assert not auth.allows(USERS, authorization), "nor at the second try"


def test_a_new_hash_makes_the_old_password_worthless() -> None:
    auth = BasicAuth()
    assert auth.allows(USERS, header(b"alice:secret"))
    assert not auth.allows({"alice": hashed(b"new")}, header(b"alice:secret"))


def test_what_htpasswd_writes_is_accepted() -> None:
    written = hashed(b"secret").replace("$2b$", "$2y$")
    assert is_bcrypt_hash(written)
    assert BasicAuth().allows({"alice": written}, header(b"alice:secret"))


def test_plain_passwords_are_no_hashes() -> None:
    assert not is_bcrypt_hash("secret")


def test_a_password_longer_than_bcrypt_reads_still_works() -> None:
    long = b"x" * 80
    assert BasicAuth().allows({"alice": hashed(long[:72])}, header(b"alice:" + long))


def test_bcrypt_is_paid_once_for_a_scraper_whatever_others_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auth, checked = BasicAuth(), []
    check = bcrypt.checkpw

    def counted(password: bytes, stored: bytes) -> bool:
        checked.append(password)
        return check(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert auth.allows(USERS, header(b"alice:secret"))
    for number in range(300):
        assert not auth.allows(USERS, header(b"bob:%d" % number))
    assert all(auth.allows(USERS, header(b"alice:secret")) for _ in range(100))
    assert checked.count(b"secret") == 1
