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
        assert scan.is_light(body) and time.process_time() - began < 0.02
    assert not scan.is_light(b'{"messages":[' + b"{}," * 20_000 + b"{}]}")
    assert not scan.is_light(b"{model:'gpt-4o',x:[" + b"1," * 50_000 + b"1]}")  # 80 ms, word by word


def test_token_arrays_up_to_what_openai_takes_are_read() -> None:
    body = json.dumps({"input": [[*range(8192)]] * 37}).encode()
    assert len(json_read.parse(body)["input"]) == 37
