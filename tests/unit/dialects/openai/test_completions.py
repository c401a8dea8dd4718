"""OpenAI's legacy completions and embeddings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, RequestFacts
from spendgate.dialects.openai.completions import OpenAICompletions
from spendgate.dialects.openai.embeddings import OpenAIEmbeddings
from spendgate.dialects.request import readable
from spendgate.errors import RequestError

TEXT, EMBED = OpenAICompletions(), OpenAIEmbeddings()
BOTH = pytest.mark.parametrize("dialect", [TEXT, EMBED], ids=lambda d: d.name)


def read(path: str = "/v1/completions", **fields: Any) -> RequestFacts:
    document = {"model": "gpt-3.5-turbo-instruct"} | fields
    return readable.read(TEXT, json.dumps(document).encode(), path, {}, 1 << 20)[0]


def embed(path: str = "/v1/embeddings", **fields: Any) -> RequestFacts:
    document = {"model": "text-embedding-3-small"} | fields
    return readable.read(EMBED, json.dumps(document).encode(), path, {}, 1 << 20)[0]


def test_a_plain_completion() -> None:
    assert read(prompt="hi", suffix="end", user="u", max_tokens=5) == RequestFacts(
        model="gpt-3.5-turbo-instruct", stream=False, texts=("hi", "end"), text_bytes=5, output_cap=5, user="u"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given_input", "texts", "ids", "inputs"),
    [
        ("one", ("one",), 0, 1),
        (["one", "two"], ("one", "two"), 0, 2),
        ([1, 2, 3], (), 3, 1),
        ([[1, 2], [3]], (), 3, 2),
        ([[1, 2], "x"], ("x",), 2, 2),
        ([True, 2], ("true", "2"), 0, 2),
        ([], (), 0, 1),
        (None, (), 0, 1),
    ],
)
def test_inputs_may_be_texts_token_ids_or_lists_of_them(
    given_input: Any, texts: tuple[str, ...], ids: int, inputs: int
) -> None:
    facts = read(prompt=given_input)
    assert (facts.texts, facts.extra_input_tokens, facts.choices) == (texts, ids, inputs)
    facts = embed(input=given_input)
    assert (facts.texts, facts.extra_input_tokens, facts.choices) == (texts, ids, 1)


@pytest.mark.parametrize(
    ("fields", "choices"),
    [({"n": 3}, 3), ({"best_of": 5, "n": 2}, 5), ({"prompt": ["a", "b"], "n": 3}, 6), ({"n": 10**9}, 16_384),
     ({"prompt": ["a"] * 5000}, 2048)],
)  # fmt: skip
def test_prompts_and_tries_multiply_the_output(fields: dict[str, Any], choices: int) -> None:
    assert read(**fields).choices == choices


@pytest.mark.parametrize(
    ("path", "cap"),
    [("/v1/completions", 16), ("/openai/deployments/d/completions", 16), ("/beta/completions", None)],
)
def test_openai_stops_at_16_tokens_unless_told_otherwise(path: str, cap: int | None) -> None:
    assert read(path).output_cap == cap
    assert read(path, max_tokens=100).output_cap == 100


def test_an_azure_deployment_is_the_model() -> None:
    facts = read("/openai/deployments/ours/completions")
    assert (facts.model, facts.model_fixed) == ("ours", True)
    facts = embed("/openai/deployments/ours/embeddings")
    assert (facts.model, facts.model_fixed) == ("ours", True)
    assert EMBED.rewrite(b"{}", facts, model="x", output_cap=None, ask_usage=False) == b"{}"


def test_embeddings_have_no_output() -> None:
    facts = embed(input="hi")
    assert (facts.output_cap, facts.stream) == (0, False)
    assert not EMBED.streams("text/event-stream", True)


def rewritten(dialect: Any, body: bytes, **wanted: Any) -> bytes:
    facts = dialect.read_request(body, "/beta/" + dialect.name)
    out: bytes = dialect.rewrite(
        body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted)
    )
    return out


def test_what_is_wanted_is_rewritten_and_nothing_else() -> None:
    body = b'{"model":"a", "prompt":"p","stream":true}'
    assert rewritten(TEXT, body) is body
    assert rewritten(TEXT, body, model="b") == b'{"model":"b", "prompt":"p","stream":true}'
    assert rewritten(TEXT, body, output_cap=7) == b'{"max_tokens":7,' + body[1:]
    assert rewritten(TEXT, b'{"model":"a","max_tokens":5}', output_cap=7) == b'{"model":"a","max_tokens":5}'
    assert rewritten(TEXT, body, ask_usage=True) == b'{"stream_options":{"include_usage":true},' + body[1:]
    body = b'{"model":"a", "input":"p"}'
    assert rewritten(EMBED, body, model="b", output_cap=7) == b'{"model":"b", "input":"p"}'


def test_recorded_usage() -> None:
    body = {"model": "m", "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    reading = TEXT.read_answer(json.dumps(body).encode())
    assert reading == Reading({"input": 7, "output": 2, "requests": 1}, "m")
    body = {"model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    assert EMBED.read_answer(json.dumps(body).encode()) == Reading({"input": 9, "requests": 1}, "m")


def chunk(text: str, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"text": text, "index": 0, "finish_reason": finish}]
    return b"data: " + json.dumps({"model": "m", "choices": choices} | more).encode() + b"\n\n"


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
EXTRA = chunk("", choices=[], usage=USAGE)
ANSWER = chunk("one two", usage=None) + chunk("", "stop", usage=None)
END = b"data: [DONE]\n\n"


def test_a_stream_is_metered_at_every_split() -> None:
    every_split("openai-completions", ANSWER + EXTRA + END)
    under_test = meter("openai-completions")
    run(under_test, [ANSWER + EXTRA + END])
    kinds = {"input": 7, "output": 2, "requests": 1}
    assert seen(under_test) == (Reading(kinds, "m"), (kinds, 2), True, False)


@given(CUTS)
def test_usage_asked_for_on_the_clients_behalf_is_taken_out(cuts: list[int]) -> None:
    under_test = meter("openai-completions", hide_usage=True)
    assert run(under_test, pieces_of(ANSWER + EXTRA + END, cuts)) == ANSWER + END
    assert under_test.result().usage == {"input": 7, "output": 2, "requests": 1}


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(ANY, ANY, ANY)
def test_odd_shapes_are_read_without_a_fault(value: Any, options: Any, n: Any) -> None:
    facts = read(prompt=value, stream_options=options, n=n, best_of=options, max_tokens=n, stream=value)
    assert 1 <= facts.choices <= 128 * 2048
    assert embed(input=value, user=options).text_bytes >= 0


@BOTH
@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_a_request_error(dialect: Any, body: bytes) -> None:
    assert dialect.read_answer(body).problem is not None
    try:
        assert dialect.read_request(body, "/v1/x").model
    except RequestError as e:
        assert str(e)


@given(
    st.lists(st.one_of(ANY.map(lambda v: chunk("a", choices=[v])), st.sampled_from([EXTRA, END])), max_size=5)
)
def test_no_stream_raises_and_all_of_it_passes(events: list[bytes]) -> None:
    stream = b"".join(events)
    assert run(meter("openai-completions"), [stream]) == stream
