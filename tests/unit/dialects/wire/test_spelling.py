"""What is looked for in a request's bytes: names that come twice, and names that may stand anywhere."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.request import hosted
from spendgate.dialects.wire import scan, spelling
from spendgate.dialects.wire.spelling import says_once


@pytest.mark.parametrize(
    ("body", "once"),
    [
        (b'{"a":1,"b":{"a":1}}', True),
        (b'{"a":1,"\\u0061":1}', False),
        (b'{"a":{"b":1,"b":1}}', False),
        (b'{"a":"\\u0022","b":"\\\\u0022"}', True),
        (b'{"a":"\\"\\"\\u0022","a":""}', False),
        (b'{"a":"\\ud800"}', True),
        (b'{"a":"\\ud800","a":1}', False),
    ],
)
def test_a_doubled_name_is_told_by_its_quotes(body: bytes, once: bool) -> None:
    assert says_once(body, json.loads(body)) is once


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(st.dictionaries(st.text(alphabet='"\\\\a\u00e9\U0001f600'), VALUES))
def test_the_quotes_of_a_long_body_are_those_that_it_would_be_written_with(document: dict[str, Any]) -> None:
    written = json.dumps(document, ensure_ascii=False)
    assert spelling._quotes_of(document) == written.count('"')


@pytest.mark.parametrize(("more", "once"), [(b"", True), (b',"model":"b"', False), (b',"b":"\\u0022"', True)])
def test_a_doubled_name_is_told_in_a_body_of_any_length(more: bytes, once: bool) -> None:
    body = b'{"model":"a","input":"' + b"a" * spelling.WALKED_ABOVE + b'"' + more + b"}"
    assert says_once(body, json.loads(body)) is once
    many = b'{"x":[' + b"1," * spelling.WALKED_MAX + b'1],"model":"a","input":"' + body[22:]
    assert spelling._quotes_of(json.loads(many)) is None
    assert says_once(many, json.loads(many)) is once


@given(VALUES)
def test_what_says_all_once_is_never_called_doubled(value: object) -> None:
    document = {"a": value}
    for ascii_only in (True, False):
        body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert says_once(body, document)


@given(
    st.lists(
        st.sampled_from(
            ["_", '"', "cache_control", '"cache_control"', '"CACHE_Control"', '"cache_contro"', "a" * 700]
        ),
        max_size=40,
    ).map("".join),
    st.sampled_from([0, 64, 8192]),
)
def test_a_key_is_found_by_its_underscore_wherever_it_stands(text: str, head: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "HEAD_BYTES", head)
        assert hosted.mentions(text.encode(), b"cache_control") is ('"cache_control"' in text.lower())


def test_a_key_with_escaped_letters_may_be_any() -> None:
    assert hosted.mentions(b'{"\\u0063ache_control":1}', b"cache_control")
    assert not hosted.mentions(b'{"a":"\\n\\u00e9"}', b"cache_control")


WORDS = st.lists(
    st.sampled_from(
        [
            "cache_control", "CACHE_control", '"', "cachepoint", "CachePoint", "cache_contro", "_", "\\", "l", "é",
            "\u212a", "\\u0063", "\\u005F", "\x00", "\ud800", " " * 600,
        ]
    ),
    max_size=5,
).map("".join)  # fmt: skip
SAID = st.recursive(
    WORDS | st.integers(), lambda x: st.lists(x, max_size=4) | st.dictionaries(WORDS, x, max_size=4)
)


def _mentions_by_its_bytes(body: bytes, word: bytes) -> bool:
    """The definition."""
    escaped = re.compile(rb"\\u00(5[fF]|[46][1-9a-fA-F]|[57][0-9aA])")
    return re.search(b'"(?i:%s)"' % word, body) is not None or escaped.search(body) is not None


@given(
    st.dictionaries(WORDS, SAID, max_size=4),
    st.tuples(st.booleans(), st.sampled_from([None, (",", ":"), (" ,\n", " : ")])),
    st.sampled_from(["", "c", "_", '"', "e"]),
    st.tuples(st.sampled_from([0, 64, 8192]), st.sampled_from([0, 3, 10_000])),
)
def test_what_was_parsed_tells_of_a_name_what_the_bytes_tell(
    document: dict[str, Any],
    written: tuple[bool, tuple[str, str] | None],
    escaped: str,
    sizes: tuple[int, int],
) -> None:
    text = json.dumps(document, ensure_ascii=written[0], separators=written[1])
    if escaped == '"':
        text = text.replace('\\"', "\\u0022")
    elif escaped:
        text = text.replace(escaped, f"\\u{ord(escaped):04x}", 1) if f"\\{escaped}" not in text else text
    body = text.encode("utf-8", "surrogatepass")
    try:
        parsed = json.loads(body)
    except ValueError:
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "HEAD_BYTES", sizes[0])
        patched.setattr(hosted, "ITEMS_LOOKED_AT", sizes[1])
        for word in (b"cache_control", b"cachepoint", b"_", b"l"):
            is_mentioned = _mentions_by_its_bytes(body, word)
            assert hosted.mentions(body, word, parsed) is is_mentioned
            assert hosted.mentions(body, word) is is_mentioned


def _pairs_say_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise KeyError
    return dict(pairs)


def _object_of(members: list[tuple[str, str]]) -> str:
    return f"{{{','.join(f'{name}: {value}' for name, value in members)}}}"


NAMES = st.sampled_from(
    ['"a"', '"b"', '"\\u0061"', '"\\""', '"\\u0022"', '"\\\\u0022"', '""', '"é"', '"\\ud800"']
)
RAW = st.recursive(
    NAMES | st.sampled_from(["1", "null", "1e400", "NaN", "123456789012345678901234567890"]),
    lambda x: (
        st.lists(x, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(NAMES, x), max_size=4).map(_object_of)
    ),
)


@given(st.lists(st.tuples(NAMES, RAW), max_size=4), st.sampled_from([0, 8 * 1024 * 1024]))
def test_a_doubled_name_is_told_wherever_it_stands(members: list[tuple[str, str]], walked: int) -> None:
    body = _object_of(members).encode("utf-8", "surrogatepass")
    try:
        json.loads(body, object_pairs_hook=_pairs_say_once)
        once = True
    except KeyError:
        once = False
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spelling, "WALKED_ABOVE", walked)
        assert says_once(body, json.loads(body)) is once
