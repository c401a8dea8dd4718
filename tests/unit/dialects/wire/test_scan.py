"""What a JSON text would be of work, told before it is parsed."""

from __future__ import annotations

import gc
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.wire import json_read, scan

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a",\\{}[]:é \n', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(alphabet='k"\\,{[', max_size=4), inner, max_size=6)
    ),
    max_leaves=40,
)


def _values(value: object) -> int:
    """The work by the parsed value itself."""
    if isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        return scan.CONTAINER + max(len(inner) - 1, 0) + sum(map(_values, inner))
    return 0


@given(VALUES, st.integers(1, 40))
def test_the_work_is_what_the_parsed_value_has_of_containers_and_values(value: object, size: int) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "_SLICE", size)  # so that slices end within strings and escapes
        assert scan._work_outside_strings(text) == _values(value)
    assert scan._work(text) >= _values(value)
    assert _values(value) * scan.SCANNED_ABOVE <= len(text) * scan.WORK_MAX


RARE = st.lists(
    st.text(alphabet='"\\{[,_a', max_size=8) | st.just("a" * 600) | st.just("\\" * 63) | st.just("\\" * 64),
    max_size=30,
).map("".join)
"""Texts in which what is looked for is rare, and such where it is not."""


@given(RARE, st.sampled_from([b'"', b"{", b","]), st.sampled_from([0, 64, 8192]))
def test_leaping_counts_what_counting_counts(text: str, mark: bytes, head: int) -> None:
    body = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "HEAD_BYTES", head)
        assert scan.count(body, mark) == body.count(mark)


@given(RARE, st.sampled_from([0, 64, 8192]))
def test_leaping_from_quote_to_quote_finds_the_same_work(text: str, head: int) -> None:
    body = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "HEAD_BYTES", head)
        assert scan._work_of_few_strings(body) in (None, scan._work_outside_strings(body))


def _is_too_much_by_the_letter(text: bytes) -> bool:
    """The definition, letter by letter: a backslash and what it escapes go; what stands between quotes is no work; of a
    slice of too many strings all is too much, if its bytes could be."""
    work = strings = at = 0
    in_string, slice_end = False, 0
    while at < len(text):
        if at >= slice_end:
            strings, slice_end = 0, at + scan._SLICE
            while slice_end < len(text) and text[slice_end - 1] == ord("\\"):
                slice_end += 1
        if text[at : at + 2] in (b"\\\\", b'\\"'):
            at += 2
            continue
        letter, at = text[at : at + 1], at + 1
        if letter == b'"':
            in_string, strings = not in_string, strings + 1
            if strings > 2 * scan.WORK_MAX and scan._work(text) > scan.WORK_MAX:
                return True
        elif not in_string:
            work += scan._work(letter)
            if work > scan.WORK_MAX:
                return True
    return False


@given(
    st.one_of(RARE, st.text(alphabet='"\\{[,_au0 ', max_size=300), VALUES.map(json.dumps)),
    st.tuples(st.integers(1, 12), st.integers(1, 60), st.integers(1, 40), st.sampled_from([0, 64, 8192])),
)
def test_too_much_is_what_the_definition_says_however_it_is_told(
    text: str, sizes: tuple[int, int, int, int]
) -> None:
    body = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        for name, size in zip(("_STEP", "_SLICE", "WORK_MAX", "HEAD_BYTES"), sizes, strict=True):
            patched.setattr(scan, name, size)
        patched.setattr(scan, "SCANNED_ABOVE", 0)
        if scan._work_of_few_strings(body) is None:  # which does not count strings
            assert scan.is_too_much(body) is _is_too_much_by_the_letter(body)
        if scan._is_surely_little(body):
            assert scan._work(body) <= scan.WORK_MAX


@pytest.mark.parametrize(
    ("text", "too_much"),
    [
        (b'","' * 1_400_000, True),  # strings enough
        (b'",,"' * 600_000, False),
        (b"," * 1_000_001, True),
        (b"," * 1_000_000, False),
        (b"[" * 250_001, False),  # too short to be
        (b"[" * 250_001 + b" " * 250_000, True),
        (b'"\\"' + b"," * 5_000_000 + b'"', False),
    ],
)
def test_at_its_limit_too_much_is_one_value_more(text: bytes, too_much: bool) -> None:
    assert scan.is_too_much(text) is too_much


@given(
    st.lists(st.sampled_from(["\\", "\\u00", "u", "0", "00", "a" * 700, "é"]), max_size=40).map("".join),
    st.sampled_from([0, 64, 8192]),
)
def test_a_word_is_found_where_it_stands_first(text: str, head: int) -> None:
    body = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "HEAD_BYTES", head)
        for rare in (0, 2, 3):
            assert scan.find(body, b"\\u00", rare=rare) == body.find(b"\\u00")


def test_few_strings_are_leapt_over_and_many_or_long_runs_of_backslashes_are_not() -> None:
    prompt = b'{"a":"' + b"a\\n{" * 200_000 + b'","b":[1,2]}'
    assert scan._work_of_few_strings(prompt) == 2 * scan.CONTAINER + 2
    assert scan._work_of_few_strings(b'{"a":"' + b'\\"' * 100_000 + b'"}') is None
    began = time.process_time()
    assert scan._work_of_few_strings(b'"' + (b"\\" * 600 + b'"') * 10_000) is None
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("part", [b"{}", b"[]", b'{"":0}', b'""', b"0", b'"\\\\"', b'{"a":[[{}]]}'])
def test_no_body_of_many_parts_is_parsed(part: bytes) -> None:
    body = b'{"model":"gpt-4o","messages":[' + b",".join([part] * 1_100_000) + b"]}"
    began = time.process_time()
    with pytest.raises(json_read.NotJson, match="too many parts"):
        json_read.parse(body)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", ["a,b,", '{"a": "b"}, ', "\\", '"', "[[[", "{\\,"])
def test_a_long_prompt_is_no_work_whatever_it_says(text: str) -> None:
    prompt = text * (6_000_000 // len(text))
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}).encode()
    assert json_read.parse(body)["messages"][0]["content"] == prompt


def test_what_is_light_is_read_in_a_moment() -> None:
    parts = b",".join([b'{"role":"user","content":"a"}'] * 3_900)
    for body in (b'{"messages":[' + parts + b"]}", b'{"messages":"' + b"a" * 500_000 + b'"}', b"{}"):
        gc.collect()  # else what other tests left may be collected here
        began = time.process_time()
        json_read.parse(body)
        assert json_read.is_light(body) and time.process_time() - began < 0.02
    assert not json_read.is_light(b'{"messages":[' + b"{}," * 20_000 + b"{}]}")
    assert not json_read.is_light(b"{model:'gpt-4o',x:[" + b"1," * 50_000 + b"1]}")  # 80 ms, word by word


def test_what_is_light_is_never_too_much() -> None:
    assert scan.LIGHT_BYTES + scan.CONTAINER * scan.LIGHT_CONTAINERS <= scan.WORK_MAX
    many = b'{"x":[' + b"1," * 1_000_001 + b"1]}"
    assert scan.has_few_parts(many) and not json_read.is_light(many)
    with pytest.raises(json_read.NotJson, match="too many parts"):
        json_read.parse(many)
    assert json_read.is_light(b'{"x":[' + b"1," * 700_000 + b"1]}")


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (b"the quick brown fox ", scan.LIGHT_PROSE_BYTES),
        (b'He said: \\"no\\".\\n' + b"And so it went on. " * 5, scan.LIGHT_PROSE_BYTES),
        (b"a word\\n", scan.LIGHT_BYTES),
        ("naïve ".encode(), scan.LIGHT_BYTES),
        (b"{a [b], c}", 32 * 1024),
    ],
)
def test_how_much_is_light_follows_from_what_it_is(words: bytes, most: int) -> None:
    def body(size: int) -> bytes:
        return b'{"model":"gpt-4o","messages":"' + words * ((size - 32) // len(words)) + b'"}'

    assert json_read.is_light(body(most))
    assert not json_read.is_light(body(most + 256))


def test_what_was_parsed_to_see_whether_it_is_light_is_parsed_once_for_its_reader() -> None:
    body = b'{"messages":["' + b"a" * 100_000 + b'"]}'
    other = bytes([*body])
    assert json_read.is_light(body)
    assert json_read.parse(other) == json_read.parse(body)
    first = json_read.parse(body)
    assert json_read.is_light(body)
    second, third = json_read.parse(body), json_read.parse(body)
    assert first == second == third  # and each reader has its own
    assert len({id(document) for document in (first, second, third)}) == 3


def test_token_arrays_up_to_what_openai_takes_are_read() -> None:
    body = json.dumps({"input": [[*range(8192)]] * 37}).encode()
    assert len(json_read.parse(body)["input"]) == 37
