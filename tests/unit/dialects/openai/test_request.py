"""What is read from an OpenAI chat request, and how it is rewritten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.openai.request import CHOICES_MAX
from spendgate.dialects.request.texts import NO_MODEL
from spendgate.errors import RequestError

DIALECT = OpenAIChat()
PATH = "/v1/chat/completions"


def read(**fields: Any) -> RequestFacts:
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]} | fields
    return DIALECT.read_request(json.dumps(document).encode(), PATH)


def parts(*content: dict[str, Any], model: str = "gpt-4o") -> RequestFacts:
    return read(model=model, messages=[{"role": "user", "content": list(content)}])


def test_a_plain_request() -> None:
    facts = read(user="u1", max_completion_tokens=50)
    assert facts == RequestFacts(
        model="gpt-4o", stream=False, texts=("hi",), text_bytes=2, extra_input_tokens=7, output_cap=50, user="u1"
    )  # fmt: skip


def test_every_text_that_is_tokenised_is_gathered() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    schema = {"name": "s", "schema": {"type": "string"}}
    facts = read(
        messages=[
            {"role": "system", "content": "système"},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "one"}, {"type": "new", "x": 1}]},
            {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}],
                "function_call": {"name": "g", "arguments": "{}"},
            },
            {"role": "tool", "content": "42"},
        ],
        tools=tools,
        functions=[{"name": "old"}],
        response_format={"type": "json_schema", "json_schema": schema},
    )  # fmt: skip
    compact: dict[str, Any] = {"separators": (",", ":")}
    assert facts.texts == (
        "système", "one", '{"type":"new","x":1}', "ann", "no", "hm", "f", '{"a":1}', "g", "{}", "42",
        json.dumps(tools, **compact), '[{"name":"old"}]', json.dumps(schema, **compact),
    )  # fmt: skip
    assert facts.text_bytes == sum(len(text.encode()) for text in facts.texts)
    assert facts.needs == {"tools", "json_schema"}


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o", "high", 1445),
        ("gpt-4o", None, 1445),
        ("gpt-4o-mini", "low", 2833),
        ("gpt-4o-mini", "auto", 48169),
        ("gpt-4.1-nano", "high", 3779),
        ("gpt-5-mini", "high", 3779),
        ("gpt-5.4", "high", 3000),
    ],
)
def test_an_image_is_bounded_by_model_and_detail(model: str, detail: str | None, tokens: int) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": detail}}
    facts = parts(image, model=model)
    assert facts.extra_input_tokens == 7 + tokens
    assert facts.needs == {"images"}
    assert facts.dear_kinds == {"input_image"}
    assert facts.texts == ()


def test_audio_is_bounded_by_its_bytes() -> None:
    facts = parts({"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "mp3"}})
    assert facts.extra_input_tokens == 7 + 31
    assert facts.needs == {"audio"}
    assert facts.dear_kinds == {"input_audio"}


def test_a_file_is_bounded_by_its_bytes_and_an_unseen_one_by_a_context() -> None:
    assert parts({"type": "file", "file": {"file_data": "A" * 4000}}).extra_input_tokens == 7 + 3000
    assert parts({"type": "file", "file": {"file_data": "A" * 400_000}}).extra_input_tokens == 7 + 200_000
    assert parts({"type": "file", "file": {"file_data": "A" * 400_000}}).unseen_input
    assert parts({"type": "file", "file": {"file_id": "f1"}}).unseen_input


def test_spoken_answers_are_dear() -> None:
    facts = read(modalities=["text", "audio"])
    assert facts.dear_kinds == {"output_audio"}
    assert "audio" in facts.needs


def test_a_rejected_prediction_may_be_billed_as_output() -> None:
    assert read(prediction={"type": "content", "content": "abcé"}).extra_output_tokens == 5
    assert read(prediction={"content": [{"type": "text", "text": "ab"}]}).extra_output_tokens == 2


def test_web_search_costs_a_fee() -> None:
    assert read(web_search_options={}).fee_kinds == {"searches": 1}
    assert read(model="gpt-4o-search-preview").fee_kinds == {"searches": 1}
    assert read().fee_kinds == {}


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_completion_tokens": None, "max_tokens": 10}, 10),
        ({"max_tokens": 10.0}, 10),
        ({"max_tokens": "10"}, 10),
        ({"max_tokens": " 6e4 "}, 60_000),
        ({"max_completion_tokens": 1, "max_tokens": 16_000}, 16_000),
        ({"max_tokens": True}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": 10**30}, 10**12),
        ({"max_tokens": 1.5}, 2),
        ({"max_tokens": "ten"}, None),
        ({}, None),
    ],
)
def test_the_output_cap_is_the_clients_own_limit(fields: dict[str, Any], cap: int | None) -> None:
    assert read(**fields).output_cap == cap


@pytest.mark.parametrize(
    ("n", "choices"), [(3, 3), (1, 1), (0, 1), (500, 500), ("2", 2), ("6.4e1", 64), (None, 1), (True, 1)]
)
def test_choices_multiply_the_output_within_the_providers_bound(n: object, choices: int) -> None:
    assert read(n=n).choices == choices


@pytest.mark.parametrize(
    ("fields", "stream", "hidden"),
    [
        ({"stream": True}, True, True),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, True, True),
        ({"stream": True, "stream_options": None}, True, True),
        ({"stream": False}, False, False),
        ({"stream": 1}, True, True),
        ({"stream": "true"}, True, True),
        ({"stream": "no"}, False, False),
    ],
)
def test_usage_is_hidden_where_a_stream_did_not_ask_for_it(
    fields: dict[str, Any], stream: bool, hidden: bool
) -> None:
    facts = read(**fields)
    assert (facts.stream, facts.usage_hidden) == (stream, hidden)


def test_the_user_is_bounded() -> None:
    assert read(user="x" * 1000).user == "x" * 200
    assert read(safety_identifier="s").user == "s"
    assert read(metadata={"user_id": "m"}).user == "m"
    assert read(user=5).user == ""


def test_an_azure_deployment_is_the_model_and_can_not_be_changed() -> None:
    path = "/openai/deployments/our-gpt/chat/completions"
    body = b'{"messages":[]}'
    facts = DIALECT.read_request(body, path)
    assert (facts.model, facts.model_fixed) == ("our-gpt", True)
    assert DIALECT.rewrite(body, facts, model="gpt-4o-mini", output_cap=None, ask_usage=False) == body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b'"text"', "not an object"),
        (b'{"model":"\xff"}', "not UTF-8 at byte 10"),
        (b'{"model":"a","model":"b"}', "twice"),
        (b'{"Model":"a"}', "not as this API does"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_body_that_can_not_be_read_says_why(body: bytes, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        DIALECT.read_request(body, PATH)


@pytest.mark.parametrize("model", [None, 5, "", "  ", [], {}, ["gpt-4o"], "x" * 1000])
def test_what_names_no_model_has_one_without_a_price(model: object) -> None:
    assert read(model=model).model == NO_MODEL


def test_what_providers_accept_is_read() -> None:
    assert DIALECT.read_request(b'\xef\xbb\xbf{"model":"m"}', PATH).model == "m"
    assert DIALECT.read_request(b'{"model":"m","temperature":NaN}', PATH).model == "m"
    facts = DIALECT.read_request(b'{"model":"m","messages":[{"content":"a\\ud800"}]}', PATH)
    assert facts.text_bytes == 4
    assert facts.texts[0].encode()
    deep = b"[" * 300 + b"]" * 300
    assert DIALECT.read_request(b'{"model":"m","tools":' + deep + b"}", PATH).texts == (deep.decode(),)


def rewritten(body: bytes, **wanted: Any) -> bytes:
    facts = DIALECT.read_request(body, PATH)
    return DIALECT.rewrite(
        body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted)
    )  # fmt: skip


def test_rewriting_nothing_gives_the_same_bytes() -> None:
    body = b' {"model" : "a" } '
    assert rewritten(body) is body


def test_the_model_is_rewritten_wherever_it_stands() -> None:
    body = b'{"messages":[{"content":"\\"model\\":\\"a\\""}],"mod\\u0065l":"b"}'
    assert rewritten(body, model='x"y') == (
        b'{"messages":[{"content":"\\"model\\":\\"a\\""}],"mod\\u0065l":"x\\"y"}'
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b'{"model":"m"}', b'{"max_completion_tokens":100,"model":"m"}'),
        (b'{"model":"m","max_tokens":500}', b'{"model":"m","max_tokens":100}'),
        (b'{"model":"m","max_tokens":50}', b'{"model":"m","max_tokens":50}'),
        (b'{"model":"m","max_completion_tokens":500}', b'{"model":"m","max_completion_tokens":100}'),
        (
            b'{"model":"m","max_tokens":50,"max_completion_tokens":500}',
            b'{"model":"m","max_tokens":50,"max_completion_tokens":100}',
        ),
        (b'{"model":"m","max_tokens":null}', b'{"max_completion_tokens":100,"model":"m","max_tokens":null}'),
        (b'{"model":"m","max_tokens":"500"}', b'{"model":"m","max_tokens":100}'),
    ],
)
def test_a_cap_goes_where_the_clients_own_limit_stands_and_only_lowers_it(
    given: bytes, expected: bytes
) -> None:
    assert rewritten(given, output_cap=100) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", b'"stream_options":{"include_usage":true}'),
        (b'"stream_options":null', b'"stream_options":{"include_usage":true}'),
        (
            b'"stream_options": {"include_usage" : false, "x":1}',
            b'"stream_options": {"include_usage" : true, "x":1}',
        ),
        (
            b'"stream_options":{"include_obfuscation":false}',
            b'"stream_options":{"include_usage":true,"include_obfuscation":false}',
        ),
        (b'"stream_options":"odd"', b'"stream_options":{"include_usage":true}'),
    ],
)
def test_asking_for_usage_keeps_the_other_stream_options(options: bytes, expected: bytes) -> None:
    body = b'{"model":"m","stream":true' + (b"," + options if options else b"") + b"}"
    out = rewritten(body, ask_usage=True)
    assert expected in out
    assert json.loads(out)["model"] == "m"
    assert not DIALECT.read_request(out, PATH).usage_hidden


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "text", "content", "image_url", "file", "function", "x", "input_audio"]),
        inner | st.sampled_from(["text", "image_url", "file", "input_audio"]),
        max_size=3,
    ),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["messages", "tools", "functions", "n", "prediction", "stream_options", "stream", "user", "metadata",
     "response_format", "modalities", "web_search_options", "max_tokens", "service_tier"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6))
def test_odd_shapes_are_read_without_a_fault(fields: dict[str, Any]) -> None:
    facts = read(**fields)
    assert facts.text_bytes >= 0
    assert facts.extra_input_tokens >= 0
    assert 1 <= facts.choices <= CHOICES_MAX


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    try:
        assert DIALECT.read_request(body, PATH).model
    except RequestError as e:
        assert str(e)
