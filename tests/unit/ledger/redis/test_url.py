"""URLs of a Redis in every form, and what is told of one that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from spendgate.errors import ConfigurationError
from spendgate.ledger.redis.url import RedisUrl, client, parse, redacted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"kind": "single", "hosts": (("localhost", 6379),), "db": 0}),
        ("redis://h:1/2", {"kind": "single", "hosts": (("h", 1),), "db": 2}),
        ("rediss://u:p%40@h", {"tls": True, "username": "u", "password": "p@", "hosts": (("h", 6379),)}),
        ("redis://:p@h", {"username": "", "password": "p"}),
        ("unix:///a%20b/r.sock?db=3", {"path": "/a b/r.sock", "db": 3, "hosts": ()}),
        ("redis+cluster://a:1,b,[::1]:3", {"kind": "cluster", "hosts": (("a", 1), ("b", 6379), ("::1", 3))}),
        ("rediss+cluster://u:p@a:1", {"tls": True, "username": "u", "password": "p"}),
        (
            "redis+sentinel://u:a%2Cb@s1,s2:2/books?sentinel_password=w&db=4",
            {
                "kind": "sentinel", "hosts": (("s1", 26379), ("s2", 2)), "master": "books", "password": "a,b",
                "sentinel_password": "w", "db": 4,
            },
        ),
    ],
)  # fmt: skip
def test_a_url_is_read(url: str, expected: dict[str, object]) -> None:
    address = parse(url)
    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "it starts with one of redis://"), ("", "it starts with one of"), ("h:6379", "starts with"),
        ("redis://h:port", "not the URL"), ("redis://[::1", "not the URL"),
        ("redis+cluster://a:1/2", "no numbered databases"),
        ("redis+cluster://", "no HOST:PORT"), ("redis+cluster://a:0", "no HOST:PORT"),
        ("redis+sentinel://a:1", "name the master"), ("redis+sentinel://a:1/x/y", "name the master"),
        ("redis://h?socket_timeout=soon", "not the URL"),
    ],
)  # fmt: skip
def test_a_url_that_can_not_be_read_says_what_to_write(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(url)


def test_no_message_tells_a_password() -> None:
    assert redacted("rediss://u:secret@h:1/0?ssl_ca_certs=x&sentinel_password=secret") == "rediss://***@h:1/0"
    with pytest.raises(ConfigurationError) as told:
        parse("redis+cluster://u:secret@h:x")
    assert "secret" not in str(told.value)


def test_an_option_that_redis_py_does_not_know_is_named() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        client("redis://h?colour=red", 1.0)


def test_the_greeting_logs_in_and_selects() -> None:
    assert parse("redis://u:p@h/2").greeting() == [("AUTH", "u", "p"), ("SELECT", "2")]
    assert parse("redis://:p@h").greeting() == [("AUTH", "p")]
    assert parse("redis://h").greeting() == []


def test_tls_options_make_the_context(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    made = parse(f"rediss://h?ssl_ca_certs={ca}").ssl_context()
    assert made is not None
    assert made.check_hostname
    loose = parse(f"rediss://h?ssl_ca_certs={ca}&ssl_check_hostname=false").ssl_context()
    assert loose is not None
    assert not loose.check_hostname
    assert parse("redis://h").ssl_context() is None
    with pytest.raises(ConfigurationError, match="TLS files"):
        RedisUrl("rediss://h", "single", tls=True, options={"ssl_ca_certs": "/nowhere"}).ssl_context()
