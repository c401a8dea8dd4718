"""Gemini: requests, usage, and streams of events and of one array."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.gemini.generate import Gemini
from spendgate.errors import RequestError

DIALECT = Gemini()
PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def read(path: str = PATH, **fields: Any) -> RequestFacts:
    return DIALECT.read_request(json.dumps({"contents": HI} | fields).encode(), path)


def parts(*content: dict[str, Any]) -> RequestFacts:
    return read(contents=[{"parts": list(content)}])


def usage(body: Any) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode())


# -- requests ---------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    assert read(generationConfig={"maxOutputTokens": 50, "candidateCount": 2}) == RequestFacts(
        model="gemini-2.5-flash", stream=False, texts=("hi",), text_bytes=2, extra_input_tokens=4, output_cap=50,
        choices=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        (PATH, "gemini-2.5-flash", False),
        ("/v1beta/models/gemini-3-pro:streamGenerateContent", "gemini-3-pro", True),
        ("/v1/projects/p/locations/l/publishers/google/models/g-2:generateContent", "g-2", False),
        ("/v1/projects/p/locations/l/endpoints/123:streamGenerateContent/", "123", True),
        ("/v1beta/models/gemini-2.5-flash%3AgenerateContent", "gemini-2.5-flash", False),
    ],
)
def test_the_path_says_model_and_stream(path: str, model: str, stream: bool) -> None:
    assert DIALECT.matches("POST", path, "application/json")
    facts = read(path)
    assert (facts.model, facts.stream, facts.model_fixed) == (model, stream, "/endpoints/" in path)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (PATH, "/v1beta/models/g-3:generateContent"),
        ("/v1/models/a:streamGenerateContent?k=models/x:y", "/v1/models/g-3:streamGenerateContent?k=models/x:y"),
        ("/v1/publishers/google/models/a%3AgenerateContent", "/v1/publishers/google/models/g-3%3AgenerateContent"),
        ("/v1/projects/p/endpoints/123:generateContent", None),
        ("/v1beta/models/a:generateC%6Fntent", None),
    ],
)  # fmt: skip
def test_the_model_is_rewritten_in_the_path_and_nothing_else(target: str, expected: str | None) -> None:
    assert DIALECT.rewrite_path(target, "g-3") == expected
    assert read(target.partition("?")[0]).model_fixed is (expected is None)


def test_a_model_can_not_break_out_of_the_path() -> None:
    assert DIALECT.rewrite_path(PATH, "a/b?c d") == "/v1beta/models/a%2Fb%3Fc%20d:generateContent"


@pytest.mark.parametrize(
    "path", ["/v1beta/models/g:countTokens", "/v1beta/models/g", "/v1beta/cachedContents"]
)
def test_other_calls_are_not_claimed(path: str) -> None:
    assert not DIALECT.matches("POST", path, "application/json")


def test_every_text_that_is_tokenised_is_gathered_in_either_spelling() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}]}]
    facts = read(
        system_instruction={"parts": [{"text": "be brief"}]},
        contents=[
            {"parts": [{"text": "one"}, {"text": "thinking", "thought": True, "thoughtSignature": "AAAA"}]},
            {"parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "AAAA"}]},
            {"parts": [{"function_response": {"name": "f"}}]},
        ],
        tools=tools,
        generation_config={"response_schema": {"type": "STRING"}, "max_output_tokens": 9},
    )  # fmt: skip
    assert facts.texts == (
        "be brief", "one", "thinking", '{"functionCall":{"name":"f","args":{}}}',
        '{"name":"f"}', '[{"functionDeclarations":[{"name":"f"}]}]', '{"type":"STRING"}',
    )  # fmt: skip
    assert (facts.output_cap, facts.needs) == (9, {"tools", "json_schema"})


def test_media_are_bounded() -> None:
    def data(kind: str) -> RequestFacts:
        return parts({"inlineData": {"mimeType": kind, "data": "A" * 4000}})

    assert data("image/png").extra_input_tokens == 4 + 2580
    assert data("image/png").dear_kinds == {"input_image"}
    assert data("audio/mp3").extra_input_tokens == 4 + 121
    assert data("audio/mp3").dear_kinds == {"input_audio"}
    assert data("video/mp4").dear_kinds == {"input_audio", "input_video"}
    assert data("application/pdf").extra_input_tokens == 4 + 3000
    assert read(generationConfig={"responseModalities": ["TEXT", "IMAGE"]}).dear_kinds == {"output_image"}


def test_files_and_caches_elsewhere_are_unseen() -> None:
    assert parts({"fileData": {"fileUri": "gs://b/o"}}).unseen_input
    assert parts({"file_data": {"file_uri": "gs://b/o"}}).unseen_input
    assert read(cachedContent="cachedContents/1").unseen_input
    assert not read().unseen_input


def test_a_search_tool_is_held_for() -> None:
    facts = read(tools=[{"googleSearch": {}}])
    assert (facts.fee_kinds, facts.tool_input_tokens) == ({"searches": 10}, 10_000)
    assert read(tools=[{"google_search": {}}]).fee_kinds == {"searches": 10}


@pytest.mark.parametrize(
    ("given_body", "expected"),
    [
        (b'{"contents":[]}', b'{"generationConfig":{"maxOutputTokens":100},"contents":[]}'),
        (b'{"generationConfig": {"temperature":1}}', b'{"generationConfig": {"maxOutputTokens":100,"temperature":1}}'),
        (b'{"generationConfig":{"maxOutputTokens": 500 }}', b'{"generationConfig":{"maxOutputTokens": 100 }}'),
        (b'{"generationConfig":{"maxOutputTokens":50}}', b'{"generationConfig":{"maxOutputTokens":50}}'),
        (b'{"generation_config":{"max_output_tokens":500}}', b'{"generation_config":{"max_output_tokens":100}}'),
        (b'{"generationConfig":null}', b'{"generationConfig":{"maxOutputTokens":100}}'),
    ],
)  # fmt: skip
def test_a_cap_is_written_where_the_client_spells_it(given_body: bytes, expected: bytes) -> None:
    facts = DIALECT.read_request(given_body, PATH)
    assert DIALECT.rewrite(given_body, facts, model=None, output_cap=100, ask_usage=True) == expected
    assert DIALECT.rewrite(given_body, facts, model="x", output_cap=None, ask_usage=True) is given_body


# -- answers ----------------------------------------------------------------------------------------------


def meta(prompt: int, candidates: int, total: int, **more: Any) -> dict[str, Any]:
    return {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": total} | more


def by(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": kind, "tokenCount": n} for kind, n in counts.items()]


RECORDED: list[tuple[dict[str, Any], dict[str, int]]] = [
    (meta(5, 1, 29, thoughtsTokenCount=23, promptTokensDetails=by(TEXT=5)), {"input": 5, "output": 1, "reasoning": 23}),
    (
        meta(3797, 656, 6002, cachedContentTokenCount=3055, thoughtsTokenCount=1549,
             promptTokensDetails=by(TEXT=3797), cacheTokensDetails=by(TEXT=3055)),
        {"input": 742, "cached_input": 3055, "output": 656, "reasoning": 1549},
    ),
    (
        meta(91, 8, 453, promptTokensDetails=by(TEXT=7, AUDIO=84), thoughtsTokenCount=354),
        {"input": 7, "input_audio": 84, "output": 8, "reasoning": 354},
    ),
    (
        meta(17, 1312, 1329, candidatesTokensDetails=by(IMAGE=1290)),
        {"input": 17, "output": 22, "output_image": 1290},
    ),
    (
        meta(32, 341, 1196, toolUsePromptTokenCount=720, thoughtsTokenCount=103, serviceTier="standard"),
        {"input": 32, "tool_input": 720, "output": 341, "reasoning": 103},
    ),
    (
        meta(100, 1, 101, cachedContentTokenCount=80, promptTokensDetails=by(TEXT=40, AUDIO=60),
             cacheTokensDetails=by(TEXT=30, AUDIO=50)),
        {"input": 10, "input_audio": 10, "cached_input": 30, "cached_input_audio": 50, "output": 1},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "kinds"), RECORDED)
def test_usage_is_split_into_kinds_that_add_up_to_the_total(
    raw: dict[str, Any], kinds: dict[str, int]
) -> None:
    reading = usage({"modelVersion": "gemini-2.5-flash", "usageMetadata": raw})
    tier = raw.get("serviceTier", "")
    assert reading == Reading(kinds | {"requests": 1}, "gemini-2.5-flash", service_tier=tier)
    assert sum(kinds.values()) == raw["totalTokenCount"]


@given(*[st.integers(0, 10**6)] * 7)
def test_no_reading_is_less_than_what_the_provider_says(
    prompt: int, candidates: int, total: int, cached: int, thoughts: int, tools: int, audio: int
) -> None:
    raw = meta(prompt, candidates, total, cachedContentTokenCount=cached, thoughtsTokenCount=thoughts,
               toolUsePromptTokenCount=tools, promptTokensDetails=by(AUDIO=audio))  # fmt: skip
    reading = usage({"usageMetadata": raw})
    charged = sum(reading.usage.values()) - 1
    assert charged >= max(total, prompt + candidates + thoughts + tools)
    assert reading.mismatch or charged == prompt + candidates + thoughts + tools


def grounded(model: str, *queries: str) -> dict[str, Any]:
    candidates = [{"groundingMetadata": {"webSearchQueries": list(queries)}}]
    return {"modelVersion": model, "usageMetadata": meta(1, 1, 2), "candidates": candidates}


def test_searches_are_billed_by_prompt_and_since_gemini_3_by_query() -> None:
    assert usage(grounded("gemini-2.5-flash", "a", "b")).usage["searches"] == 1
    assert usage(grounded("gemini-3-pro", "a", "b")).usage["searches"] == 2
    assert "searches" not in usage(grounded("gemini-3-pro")).usage


def test_a_collected_array_is_read_by_its_last_usage() -> None:
    chunks = [{"usageMetadata": meta(5, 1, 6), "modelVersion": "m"}, {"usageMetadata": meta(5, 3, 8)}]
    assert usage(chunks) == Reading({"input": 5, "output": 3, "requests": 1}, "m")


@pytest.mark.parametrize(
    ("body", "problem"),
    [({}, "no_usage"), ([], "no_usage"), (7, "no_usage"), ({"usageMetadata": {}}, "no_usage"),
     ({"usageMetadata": "x"}, "bad_usage"), ({"usageMetadata": meta(-1, 1, 1)}, "bad_usage"),
     ({"usageMetadata": meta(1, 1, 2, promptTokensDetails=by(AUDIO=-1))}, "bad_usage")],
)  # fmt: skip
def test_an_answer_without_good_usage_says_so(body: Any, problem: str) -> None:
    assert usage(body).problem == problem
    assert DIALECT.read_answer(b"<html>").problem == "not_json"


# -- streams ----------------------------------------------------------------------------------------------


def chunk(text: str = "", finish: str = "", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash"} | more


EARLY = {"promptTokenCount": 30, "totalTokenCount": 1565, "thoughtsTokenCount": 1535}
CHUNKS = [
    chunk("one two", usageMetadata=EARLY),
    chunk(" three", "STOP", usageMetadata=meta(30, 3, 1568, thoughtsTokenCount=1535)),
]
KINDS = {"input": 30, "output": 3, "reasoning": 1535, "requests": 1}


def sse(chunks: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(c).encode() + b"\r\n\r\n" for c in chunks)


def array(chunks: list[Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(c, indent=1).encode() for c in chunks) + b"\n]\n"


FRAMED = pytest.mark.parametrize("framed", [sse, array])


@FRAMED
def test_usage_is_read_at_every_split(framed: Any) -> None:
    stream = framed(CHUNKS)
    every_split("gemini", stream)
    under_test = meter("gemini")
    run(under_test, [stream])
    assert seen(under_test) == (Reading(KINDS, "gemini-2.5-flash"), (KINDS, 3), True, False)


@FRAMED
def test_a_cut_stream_has_the_usage_so_far(framed: Any) -> None:
    under_test = meter("gemini")
    run(under_test, [framed(CHUNKS[:1])[:-3]] if framed is array else [framed(CHUNKS[:1])], end=False)
    so_far = {"input": 30, "reasoning": 1535, "requests": 1}
    assert under_test.partial() == (so_far, 2)
    assert (under_test.complete, under_test.result().problem) == (False, "truncated")


def test_a_blocked_prompt_is_complete() -> None:
    under_test = meter("gemini")
    feedback = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
    run(under_test, [sse([feedback])])
    assert (under_test.complete, under_test.result().usage) == (True, {"input": 7, "requests": 1})


@FRAMED
def test_an_error_in_the_stream_is_a_failure(framed: Any) -> None:
    under_test = meter("gemini")
    run(under_test, [framed([chunk("a"), {"error": {"code": 503}}])])
    assert (under_test.failed, under_test.complete) == (True, False)


def test_function_calls_are_counted_and_searches_are_billed() -> None:
    under_test = meter("gemini")
    call = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]}
    run(
        under_test,
        [sse([call, grounded("gemini-3-pro", "a", "b"), chunk("", "STOP", modelVersion="gemini-3-pro")])],
    )
    assert under_test.partial()[1] == 1
    assert under_test.result().usage["searches"] == 2


def test_a_streamed_answer_is_one_by_its_type_and_what_was_asked() -> None:
    assert DIALECT.streams("text/event-stream", False)
    assert DIALECT.streams("application/json", True)
    assert not DIALECT.streams("application/json", False)


# -- errors, and anything at all --------------------------------------------------------------------------


def test_a_refusal_is_googles_error() -> None:
    rejection = Rejection(429, "monthly_budget_exceeded", "Spent.", {"team": "ml", "spent_usd": "1.00"})
    error = json.loads(DIALECT.error_body(rejection))["error"]
    assert (error["code"], error["status"], error["message"]) == (429, "RESOURCE_EXHAUSTED", "Spent.")
    assert error["details"][0]["reason"] == "MONTHLY_BUDGET_EXCEEDED"
    assert error["details"][0]["metadata"] == {"team": "ml", "spent_usd": "1.00"}


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["parts", "text", "inlineData", "mimeType", "data", "usageMetadata", "promptTokenCount",
                         "candidatesTokenCount", "promptTokensDetails", "modality", "tokenCount", "candidates",
                         "content", "groundingMetadata", "webSearchQueries", "functionCall", "finishReason"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["contents", "systemInstruction", "tools", "generationConfig", "cachedContent", "serviceTier"]
)


@given(st.dictionaries(FIELDS, ANY, max_size=5), st.none() | st.integers(1, 100))
def test_odd_requests_are_read_and_rewritten_without_a_fault(fields: dict[str, Any], cap: int | None) -> None:
    body = json.dumps(fields).encode()
    facts = DIALECT.read_request(body, PATH)
    assert 1 <= facts.choices <= 8
    out = DIALECT.rewrite(body, facts, model=None, output_cap=cap, ask_usage=False)
    assert cap is None or 1 <= (DIALECT.read_request(out, PATH).output_cap or 0) <= cap


@given(ANY)
def test_no_answer_raises(body: Any) -> None:
    reading = usage(body)
    assert all(count > 0 for count in reading.usage.values())
    assert (reading.usage == {}) == (reading.problem is not None)


@given(st.lists(ANY | st.sampled_from(CHUNKS), max_size=5), CUTS, st.sampled_from([sse, array]))
def test_no_stream_raises_and_all_of_it_passes(chunks: list[Any], cuts: list[int], framed: Any) -> None:
    stream = framed(chunks)
    under_test, whole = meter("gemini"), meter("gemini")
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    assert run(meter("gemini"), [body]) == body
    try:
        assert DIALECT.read_request(body, PATH).model
    except RequestError as e:
        assert str(e)
