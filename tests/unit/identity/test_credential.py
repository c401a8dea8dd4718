"""What gateways believe because it was signed: the doctor's word, and what one gateway tells the next."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.exchange.handover import LIFE_MS, Handover, digest_of, plain_host, read
from spendgate.identity.credential import DOCTOR_MS, doctors_word, is_doctors, signed, verified

SECRET, OTHER = b"s" * 32, b"o" * 32
NOW = 1_790_000_000_000
TOLD = Handover(
    "id", "ml", "chat", "ann", "", "gpt-4o", "gpt-4o-mini", "downgrade", "budget_pressure",
    NOW + LIFE_MS, digest_of(b"{}"), "/v1/chat/completions?a=1", "api.openai.com",
    tags=(("project", "x"),), groups=("eng", "all"),
)  # fmt: skip


@given(st.binary(max_size=200))
def test_what_was_signed_is_read_again_and_only_for_its_purpose(content: bytes) -> None:
    text = signed(SECRET, "a", content)
    assert verified(SECRET, "a", text) == content
    assert verified(SECRET, "b", text) is None
    assert verified(OTHER, "a", text) is None
    assert verified(b"", "a", text) is None


@given(st.data())
def test_no_word_survives_a_change_of_any_character(data: st.DataObject) -> None:
    text = signed(SECRET, "a", b"some content")
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    changed = text[:at] + new + text[at + 1 :]
    # base64 leaves bits of a last character open: the bytes, and so what is believed, are the same
    assert changed == text or verified(SECRET, "a", changed) in (None, b"some content")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "v1..", "v1.e30.", "v1.é.e30", "v2.e30.e30", "v1.e30.e30.e30", "v1. .e30"]
)
def test_what_is_no_word_is_believed_by_nobody(text: str) -> None:
    assert verified(SECRET, "a", text) is None
    assert not is_doctors(SECRET, text, NOW)
    assert read(SECRET, text) is None


def test_the_doctors_word_holds_for_two_minutes_and_of_this_ledger() -> None:
    word = doctors_word(SECRET, NOW)
    assert is_doctors(SECRET, word, NOW)
    assert is_doctors(SECRET, word, NOW + DOCTOR_MS - 1)
    assert not is_doctors(SECRET, word, NOW + DOCTOR_MS)
    assert not is_doctors(OTHER, word, NOW)
    assert not is_doctors(b"", word, NOW)
    assert not is_doctors(SECRET, doctors_word(SECRET, NOW + 86_400_000), NOW), "made far ahead of its time"


def test_a_gateways_word_is_for_one_request_and_one_minute() -> None:
    told = read(SECRET, TOLD.word(SECRET))
    assert told == TOLD
    assert read(OTHER, TOLD.word(SECRET)) is None
    path, host = TOLD.path, TOLD.host
    assert told.fits(path, "API.openai.com:443", NOW)
    assert not told.fits(path, host, NOW + LIFE_MS)
    assert not told.fits("/v1/chat/completions", host, NOW)
    assert not told.fits(path, "api.anthropic.com", NOW)
    assert not replace(told, until_ms=NOW + 10 * LIFE_MS).fits(path, host, NOW)


def test_a_word_of_another_version_says_less_or_more_and_holds() -> None:
    told = orjson.loads(orjson.dumps(TOLD))
    more = signed(SECRET, "handover", orjson.dumps({**told, "later": [1]}))
    assert read(SECRET, more) == TOLD
    less = {name: told[name] for name in told if name not in ("tags", "groups", "usage_hidden")}
    assert read(SECRET, signed(SECRET, "handover", orjson.dumps(less))) == replace(TOLD, tags=(), groups=())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"7", b'{"exchange_id":"id"}', b'"groups"'])
def test_a_word_that_names_no_exchange_hands_nothing_over(content: bytes) -> None:
    assert read(SECRET, signed(SECRET, "handover", content)) is None


def test_what_is_taken_over_is_voided_in_every_account() -> None:
    void = TOLD.void()
    assert (void.exchange_id, void.team, void.app, void.cost_nanousd, void.release) == (
        "id",
        "ml",
        "chat",
        0,
        True,
    )
    assert [share.name for share in void.groups] == ["eng", "all"]


def test_a_doctors_word_hands_nothing_over() -> None:
    assert read(SECRET, doctors_word(SECRET, NOW)) is None
    assert not is_doctors(SECRET, TOLD.word(SECRET), NOW)


@pytest.mark.parametrize(
    ("authority", "host"),
    [("A.b", "a.b"), ("a.b:443", "a.b"), ("[::1]:80", "[::1]"), ("a.b:x", "a.b:x"), ("", "")],
)
def test_a_host_is_told_without_case_and_port(authority: str, host: str) -> None:
    assert plain_host(authority) == host
