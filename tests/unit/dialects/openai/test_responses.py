"""OpenAI Responses: requests, usage and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, RequestFacts
from spendgate.dialects.openai.responses import OpenAIResponses
from spendgate.errors import RequestError

DIALECT = OpenAIResponses()
NAME = "openai-responses"


def read(**fields: Any) -> RequestFacts:
    document = {"model": "gpt-4o", "input": "hi"} | fields
    return DIALECT.read_request(json.dumps(document).encode(), "/v1/responses")


def usage(body: Any) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode())


# -- requests ---------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    assert read(user="u", max_output_tokens=50, service_tier="flex") == RequestFacts(
        model="gpt-4o", stream=False, texts=("hi",), text_bytes=2, extra_input_tokens=3, output_cap=50,
        output_cap_min=16, user="u", service_tier="flex",
    )  # fmt: skip


def test_every_text_that_is_tokenised_is_gathered() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    facts = read(
        instructions="be brief",
        input=[
            {"role": "user", "content": "one"},
            {"type": "message", "content": [{"type": "input_text", "text": "two"}, {"type": "new", "x": 1}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "three"},
                                              {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "output": "42"},
            {"type": "function_call_output", "output": [{"type": "input_text", "text": "43"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "novel", "y": 2},
            "bare",
        ],
        tools=tools,
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "string"}}},
    )  # fmt: skip
    assert facts.texts == (
        "be brief", "one", "two", '{"type":"new","x":1}', "three", "no", "f", "{}", "42", "43", "hm",
        '{"type":"novel","y":2}', "bare", json.dumps(tools, separators=(",", ":")), '{"type":"string"}',
    )  # fmt: skip
    assert facts.extra_input_tokens == 3 + 8 * 4
    assert facts.needs == {"tools", "json_schema"}
    assert not facts.unseen_input


def test_images_audio_and_files_are_bounded() -> None:
    image = {"type": "input_image", "image_url": "https://x/y.png"}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "mp3"}}
    file = {"type": "input_file", "file_data": "A" * 4000}
    for part, tokens in ((image, 1445), (image | {"detail": "low"}, 85), (sound, 31), (file, 3000)):
        assert read(input=[{"role": "user", "content": [part]}]).extra_input_tokens == 7 + tokens
    facts = read(input=[{"role": "user", "content": [image, sound]}])
    assert facts.needs == {"images", "audio"}
    assert facts.dear_kinds == {"input_image", "input_audio"}
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": "A" * 400}
    assert read(input=[sealed]).extra_input_tokens == 7 + 300
    shot = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "u"}}
    assert read(input=[shot]).extra_input_tokens == 7 + 1445


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
)
def test_input_that_only_the_provider_has_is_said_to_be_unseen(fields: dict[str, Any]) -> None:
    assert read(**fields).unseen_input


def test_a_stored_prompt_may_name_the_model_and_brings_its_variables() -> None:
    prompt = {"id": "pmpt_1", "variables": {"a": "text", "b": {"type": "input_text", "text": "part"}}}
    facts = DIALECT.read_request(json.dumps({"prompt": prompt}).encode(), "/v1/responses")
    assert (facts.model, facts.texts) == ("unknown", ("text", "part"))
    assert DIALECT.read_request(b'{"input":"hi"}', "/v1/responses").model == "unknown"


def test_the_providers_own_tools_are_held_for() -> None:
    search = {"type": "web_search"}
    assert read(tools=[search]).fee_kinds == {"searches": 10}
    assert read(tools=[search]).tool_input_tokens == 170_000
    assert read(tools=[search], max_tool_calls=2).fee_kinds == {"searches": 2}
    facts = read(tools=[{"type": "file_search"}], max_tool_calls=1)
    assert (facts.fee_kinds, facts.turns, facts.unseen_results) == ({"file_searches": 1}, 2, True)
    assert read(tools=[{"type": "function", "name": "f"}]).tool_input_tokens == 0
    assert read(tools=[{"type": "code_interpreter"}, {"type": "apply_patch"}]).tool_input_tokens == 2_500
    drawing = read(tools=[{"type": "image_generation", "model": "gpt-image-1-mini"}])
    assert (drawing.other_models, drawing.extra_output_tokens) == (("gpt-image-1-mini",), 2 * 6_240)


def rewritten(body: bytes, **wanted: Any) -> bytes:
    facts = DIALECT.read_request(body, "/v1/responses")
    return DIALECT.rewrite(
        body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted)
    )  # fmt: skip


def test_model_and_cap_are_rewritten_and_nothing_else() -> None:
    body = b'{"model":"a", "input":"max_output_tokens"}'
    assert rewritten(body) is body
    assert rewritten(body, model="b") == b'{"model":"b", "input":"max_output_tokens"}'
    capped = b'{"max_output_tokens":100,"model":"a", "input":"max_output_tokens"}'
    assert rewritten(body, output_cap=100) == capped
    assert rewritten(b'{"model":"a","max_output_tokens":50}', output_cap=100) == (
        b'{"model":"a","max_output_tokens":50}'
    )
    assert rewritten(b'{"model":"a","max_output_tokens":500}', output_cap=3) == (
        b'{"model":"a","max_output_tokens":16}'
    )


# -- answers ----------------------------------------------------------------------------------------------


def report(inside: int, outside: int, **more: int) -> dict[str, Any]:
    return {
        "input_tokens": inside,
        "input_tokens_details": {k: v for k, v in more.items() if k != "reasoning_tokens"},
        "output_tokens": outside,
        "output_tokens_details": {"reasoning_tokens": more.get("reasoning_tokens", 0)},
        "total_tokens": inside + outside,
    }


RECORDED = [
    (report(3821, 39, cached_tokens=3584), {"input": 237, "cached_input": 3584, "output": 39}),
    (report(11, 327, reasoning_tokens=320), {"input": 11, "output": 7, "reasoning": 320}),
    (
        report(1220, 100, cache_write_tokens=1217, cached_tokens=0, reasoning_tokens=54),
        {"input": 3, "cache_write_5m": 1217, "output": 46, "reasoning": 54},
    ),
    (report(14, 50), {"input": 14, "output": 50}),
]


@pytest.mark.parametrize(("raw", "kinds"), RECORDED)
def test_recorded_usage_is_split_into_kinds(raw: dict[str, Any], kinds: dict[str, int]) -> None:
    body = {"model": "gpt-5-nano", "status": "completed", "service_tier": "default", "usage": raw}
    assert usage(body) == Reading(kinds | {"requests": 1}, "gpt-5-nano", service_tier="default")


def test_searches_are_counted_and_pages_opened_are_not() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call"},
        {"type": "message"},
        7,
    ]
    assert usage({"usage": report(1, 1), "output": output}).usage["searches"] == 2
    files = [{"type": "file_search_call"}, {"type": "file_search_call"}]
    assert usage({"usage": report(1, 1), "output": files}).usage["file_searches"] == 2


@pytest.mark.parametrize(
    ("item", "tokens"),
    [
        ({"quality": "low", "size": "1024x1024"}, 272),
        ({"quality": "high", "size": "1536x1024"}, 6_208),
        ({"quality": "auto", "size": "auto"}, 6_240),
        ({}, 6_240),
    ],
)
def test_an_image_that_a_tool_drew_is_another_models_bill(item: dict[str, str], tokens: int) -> None:
    output = [{"type": "image_generation_call", "status": "completed", **item}]
    tools = [{"type": "image_generation", "model": "gpt-image-1-mini"}]
    reading = usage({"model": "gpt-4.1", "usage": report(10, 5), "output": output, "tools": tools})
    own = {"input": 10, "output": 5, "requests": 1}
    assert reading.parts == (("gpt-4.1", own), ("gpt-image-1-mini", {"output_image": tokens}))
    assert reading.usage == {**own, "output_image": tokens}
    failed = [output[0] | {"status": "failed"}]
    assert usage({"model": "gpt-4.1", "usage": report(10, 5), "output": failed}).parts == ()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"status": "queued", "background": True, "usage": None}, "deferred"),
        ({"usage": {}}, "no_usage"),
        ([], "no_usage"),
        ({"usage": "x"}, "bad_usage"),
        ({"usage": report(-1, 1)}, "bad_usage"),
        ({"usage": report(1, 1) | {"output_tokens": "five"}}, "bad_usage"),
    ],
)
def test_an_answer_without_good_usage_says_so(body: Any, problem: str) -> None:
    assert usage(body).problem == problem
    assert DIALECT.read_answer(b"<html>").problem == "not_json"


def test_a_total_above_its_parts_is_charged_and_flagged() -> None:
    reading = usage({"usage": report(10, 5) | {"total_tokens": 40}})
    assert (reading.usage, reading.mismatch) == ({"input": 10, "output": 30, "requests": 1}, True)


# -- streams ----------------------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + json.dumps({"type": kind} | fields).encode() + b"\n\n"


OPEN = event("response.created", response={"model": "gpt-4o-2024-08-06", "usage": None})
TEXT = event("response.output_text.delta", delta="one two") + event(
    "response.output_text.done", text="one two"
)
ENDED = {"model": "gpt-4o-2024-08-06", "usage": report(14, 3), "output": []}
DONE = event("response.completed", response=ENDED)
KINDS = {"input": 14, "output": 3, "requests": 1}


def test_usage_is_read_at_every_split() -> None:
    every_split(NAME, OPEN + TEXT + DONE)
    under_test = meter(NAME)
    run(under_test, [OPEN + TEXT + DONE])
    assert seen(under_test) == (Reading(KINDS, "gpt-4o-2024-08-06"), (KINDS, 2), True, False)


def test_a_cut_answer_is_complete_with_its_usage() -> None:
    under_test = meter(NAME)
    run(under_test, [OPEN, event("response.incomplete", response=ENDED)])
    assert (under_test.result().usage, under_test.complete) == (KINDS, True)


def test_searches_of_a_stream_are_counted() -> None:
    under_test = meter(NAME)
    output = [{"type": "web_search_call", "action": {"type": "search"}}]
    run(under_test, [event("response.completed", response=ENDED | {"output": output})])
    assert under_test.result().usage["searches"] == 1


def test_an_aborted_stream_counts_what_flowed() -> None:
    under_test = meter(NAME)
    run(
        under_test,
        [
            OPEN, TEXT,
            event("response.reasoning_summary_text.delta", delta="three"),
            event("response.function_call_arguments.delta", delta='{"four"'),
            event("response.refusal.delta", delta="five"),
            event("response.audio.delta", delta="QUJD REVG"),
            event("response.audio.transcript.delta", delta="six"),
        ],
        end=False,
    )  # fmt: skip
    assert seen(under_test) == (Reading({}, "gpt-4o-2024-08-06", "truncated"), ({}, 6), False, False)


def test_a_failure_is_billed_by_its_usage_or_by_what_flowed() -> None:
    failed = meter(NAME)
    run(failed, [OPEN, TEXT, event("response.failed", response={"usage": None})])
    assert failed.failed
    assert failed.result().problem == "no_usage"
    billed = meter(NAME)
    run(billed, [OPEN, event("response.failed", response=ENDED)])
    assert (billed.failed, billed.result().usage) == (False, KINDS)


@pytest.mark.parametrize(
    "raw", [event("error", code="c", message="m"), b'event: error\ndata: {"message":"m"}\n\n']
)
def test_an_error_event_is_a_failure(raw: bytes) -> None:
    under_test = meter(NAME)
    run(under_test, [OPEN, raw])
    assert (under_test.failed, under_test.complete) == (True, False)


def test_an_event_that_is_not_json_is_reported() -> None:
    under_test = meter(NAME)
    run(under_test, [b"data: <html>\n\n"])
    assert under_test.result().problem == "not_json"


# -- anything at all --------------------------------------------------------------------------------------

ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["message", "reasoning", "input_image", "web_search", "response.completed"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "content", "output", "response", "usage", "input_tokens", "output_tokens",
                         "input_tokens_details", "cached_tokens", "delta", "variables", "format"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["input", "instructions", "tools", "prompt", "text", "stream", "metadata", "max_output_tokens",
     "max_tool_calls", "conversation", "service_tier"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, ANY, max_size=5))
def test_odd_requests_are_read_without_a_fault(fields: dict[str, Any]) -> None:
    facts = read(**fields)
    assert facts.text_bytes >= 0
    assert facts.extra_input_tokens >= 3


@given(ANY)
def test_no_answer_raises(body: Any) -> None:
    reading = usage(body)
    assert all(count > 0 for count in reading.usage.values())
    assert (reading.usage == {}) == (reading.problem is not None)


@given(
    st.lists(st.one_of(ANY.map(lambda v: b"data: " + json.dumps(v).encode() + b"\n\n"), st.just(DONE))), CUTS
)
def test_no_stream_raises_and_all_of_it_passes(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(events)
    under_test, whole = meter(NAME), meter(NAME)
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    try:
        assert DIALECT.read_request(body, "/v1/responses").model
    except RequestError as e:
        assert str(e)


def interpreter(container: object = None) -> dict[str, Any]:
    return {"type": "code_interpreter", **({} if container is None else {"container": container})}


def shell(**environment: object) -> dict[str, Any]:
    return {"type": "shell", **({"environment": environment} if environment else {})}


CONTAINERS: list[tuple[dict[str, Any], int]] = [
    (interpreter(), 1),
    (interpreter({"type": "auto"}), 1),
    (interpreter({"type": "auto", "memory_limit": "1g"}), 1),
    (interpreter({"type": "auto", "memory_limit": "4g"}), 4),
    (interpreter({"type": "auto", "memory_limit": "64g"}), 64),
    (interpreter({"type": "auto", "memory_limit": "256g"}), 64),
    (interpreter({"type": "auto", "memory_limit": ["4g"]}), 64),
    (shell(type="container_auto"), 1),
    (shell(type="container_auto", memory_limit="16g"), 16),
]
NAMED = [interpreter("cntr_1"), shell(type="container_reference", container_id="cntr_1")]
RAN: dict[str, dict[str, Any]] = {
    "code_interpreter": {"type": "code_interpreter_call", "container_id": "cntr_1"},
    "shell": {
        "type": "shell_call",
        "environment": {"type": "container_reference", "container_id": "cntr_1"},
    },
}


def runs(tools: list[dict[str, Any]], *output: dict[str, Any]) -> int:
    document = {
        "model": "gpt-5.4",
        "status": "completed",
        "tools": tools,
        "output": output,
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }
    return usage(document).usage.get("code_runs", 0)


@pytest.mark.parametrize(("tool", "gigabytes"), CONTAINERS)
def test_a_container_is_held_for_and_charged_by_the_same_size(tool: dict[str, Any], gigabytes: int) -> None:
    assert read(tools=[tool]).fee_nanousd == gigabytes * 30_000_000
    ran = RAN[str(tool["type"])]
    assert runs([{"type": "web_search"}, tool], ran, ran) == gigabytes


@pytest.mark.parametrize("tool", NAMED)
def test_a_container_that_another_call_made_is_not_charged_as_the_largest_again(tool: dict[str, Any]) -> None:
    """Its maker was charged by its size; a client that goes on in it begins one session at most (LangChain's do)."""
    assert read(tools=[tool]).fee_nanousd == 64 * 30_000_000, "held for"
    ran = RAN[str(tool["type"])]
    assert runs([tool], ran, ran) == 1


def test_a_shell_of_the_clients_own_has_no_container() -> None:
    assert read(tools=[shell(type="local")]).fee_nanousd == 0
    for place in (None, {"type": "local"}):
        assert runs([shell(type="local")], {"type": "shell_call", "environment": place}) == 0


def test_a_call_of_a_code_interpreter_that_names_no_container_had_one() -> None:
    call: dict[str, Any] = {"type": "code_interpreter_call"}
    assert runs([interpreter()], call, {**call, "container_id": None}) == 2
    assert runs([interpreter({"type": "auto", "memory_limit": "4g"})], call) == 4
    assert runs([], call) == 1


def test_containers_are_charged_each_by_the_size_of_its_own_tool() -> None:
    tools = [interpreter(), shell(type="container_auto", memory_limit="16g")]
    other = {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "cntr_2"}}
    assert runs(tools, RAN["code_interpreter"], other) == 17
