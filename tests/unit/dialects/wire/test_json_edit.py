"""Edits of a JSON body: what was asked changes, and not a byte else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.wire import json_edit
from spendgate.errors import RequestError

KEYS = st.sampled_from(
    ["model", "max_tokens", "stream_options", "messages", 'say "model', "a,b", "\u00e9", ""]
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['{"model":"x"}', '\\"model\\":', "]}", '"', "\\", '\\\\"', ',"model":1', "\u2028"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.one_of(KEYS, TEXTS), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.lists(st.tuples(KEYS, VALUES), max_size=6)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """An object with duplicate keys, odd whitespace and escaped spellings, and what it means."""
    members = draw(MEMBERS)
    gap = draw(st.sampled_from(["", " ", "\n\t ", "  \r\n"]))
    ascii_only = draw(st.booleans())

    def key(text: str) -> str:
        if text.isalpha() and text.isascii() and draw(st.integers(0, 3)) == 0:
            return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"'
        return json.dumps(text, ensure_ascii=ascii_only)

    def write(value: Any) -> str:
        indent = draw(st.sampled_from([None, 2]))
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    inner = f"{gap},{gap}".join(f"{key(k)}{gap}:{gap}{write(v)}" for k, v in members)
    text = f"{gap}{{{gap}{inner}{gap}}}{gap}"
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return bom + text.encode(), dict(members)


def parse(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"))


@given(bodies(), st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
def test_edit_then_parse_is_parse_then_edit(body: tuple[bytes, dict[str, Any]], new: dict[str, Any]) -> None:
    raw, meaning = body
    edited = json_edit.edit(raw, {k: json.dumps(v).encode() for k, v in new.items()})
    assert parse(edited) == meaning | new


@given(bodies(), VALUES)
def test_every_occurrence_is_replaced(body: tuple[bytes, dict[str, Any]], value: Any) -> None:
    raw, _ = body
    edited = json_edit.edit(raw, {"model": json.dumps(value).encode()})
    pairs = json.loads(edited.decode("utf-8-sig"), object_pairs_hook=list)
    plain = json.loads(json.dumps(value), object_pairs_hook=list)
    assert [v for k, v in pairs if k == "model"] == [plain] * max(
        1, sum(member.key == "model" for member in json_edit.members(raw)[1])
    )


@given(bodies())
def test_every_other_byte_stays(body: tuple[bytes, dict[str, Any]]) -> None:
    raw, meaning = body
    edited = json_edit.edit(raw, {"model": b'"a-new-model"'})
    if "model" not in meaning:
        cut = raw.index(b"{") + 1
        inserted = b'"model":"a-new-model"' + (b"," if meaning else b"")
        assert edited == raw[:cut] + inserted + raw[cut:]
        return
    kept = [m for m in json_edit.members(raw)[1] if m.key == "model"]
    expected, position = b"", 0
    for member in kept:
        expected += raw[position : member.start] + b'"a-new-model"'
        position = member.end
    assert edited == expected + raw[position:]


@given(bodies())
def test_members_are_what_a_parser_sees(body: tuple[bytes, dict[str, Any]]) -> None:
    raw, _ = body
    pairs = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=list)
    found = json_edit.members(raw)[1]
    seen = [(m.key, json.loads(raw[m.start : m.end], object_pairs_hook=list)) for m in found]
    assert seen == [tuple(pair) for pair in pairs]


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    try:
        edited = json_edit.edit(body, {"model": b'"m"'})
    except RequestError:
        return
    assert parse(edited)["model"] == "m"


def test_spellings_of_numbers_and_escapes_survive() -> None:
    body = b'{"t":1.0e-3,"big":123456789012345678901234567890,"e":"\\u00e9\\/","model":"a"}'
    assert json_edit.edit(body, {"model": b'"b"'}) == body.replace(b'"a"}', b'"b"}')


def test_a_key_of_the_same_name_inside_a_value_is_left_alone() -> None:
    body = b'{"tools":[{"model":"inner"}]}'
    assert json_edit.edit(body, {"model": b'"m"'}) == b'{"model":"m","tools":[{"model":"inner"}]}'
    body = b'{"tools":[{"model":"inner"}],"model":"old"}'
    assert json_edit.edit(body, {"model": b'"m"'}) == b'{"tools":[{"model":"inner"}],"model":"m"}'


def test_deep_nesting_needs_no_recursion() -> None:
    deep = b"[" * 900 + b'{"model":"]}"}' + b"]" * 900
    body = b'{"a":' + deep + b',"model":"x","model":"y"}'
    expected = b'{"a":' + deep + b',"model":"m","model":"m"}'
    assert json_edit.edit(body, {"model": b'"m"'}) == expected


def test_nesting_too_deep_to_be_read_is_a_request_error() -> None:
    body = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"x"}'
    with pytest.raises(RequestError, match="not JSON"):
        json_edit.edit(body, {"model": b'"m"'})


def test_a_function_edits_the_value_it_is_given() -> None:
    def nested(old: bytes) -> bytes:
        return json_edit.edit(old, {"include_usage": b"true"})

    body = b'{"stream_options": { "include_obfuscation" : false } }'
    assert json_edit.edit(body, {"stream_options": nested}) == (
        b'{"stream_options": {"include_usage":true, "include_obfuscation" : false } }'
    )


@pytest.mark.parametrize("body", [b"", b"[]", b'"{"', b"{", b'{"a":1', b'{"a" 1}', b"{}x", b"null"])
def test_what_is_no_object_is_a_request_error(body: bytes) -> None:
    with pytest.raises(RequestError, match="the body"):
        json_edit.edit(body, {"model": b'"m"'})
