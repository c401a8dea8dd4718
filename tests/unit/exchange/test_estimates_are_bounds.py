"""No bill is above its hold: requests whose input, tools or answering model are not in the request itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects import registry
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import readable
from spendgate.exchange.quote import make_quote
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.price import Price
from spendgate.pricing.terms import Terms
from spendgate.tokens.count import measure

PRICES = table()
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"
TALK = "/v1beta/interactions"
CONVERSE = "/model/anthropic.claude-sonnet-4-20250514-v1:0/converse"
URL = "https://v.example/a"
THOUSANDS = 1_000


def facts_of(path: str, body: dict[str, Any]) -> RequestFacts:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None, path
    return readable.read(dialect, orjson.dumps(body), path, {}, 1 << 25)[0]


def held(path: str, body: dict[str, Any], model: str = "") -> int:
    facts = facts_of(path, body)
    counted = measure(facts.texts, facts.text_bytes)
    return make_quote(PRICES, model or facts.model, facts, counted, facts.output_cap, 4096).estimate_nanousd


def bill(model: str, input_tokens: int, output_tokens: int = 10, **more: int) -> int:
    price = PRICES.find(model)
    assert price is not None
    return cost_nanousd(price, {"input": input_tokens, "output": output_tokens, **more}, PRICES.stand_ins)


def chat(*parts: dict[str, Any], model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    content: Any = list(parts) or "hi"
    return {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": content}], **fields}


def respond(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content: Any = [{"role": "user", "content": list(parts)}] if parts else "x " * 1000
    return {"model": "gpt-4o", "max_output_tokens": 1000, "input": content, **fields}


def messages(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content: Any = list(blocks) or "hi"
    asked = [{"role": "user", "content": content}]
    return {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": asked, **fields}


def contents(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    said = [{"parts": [*parts, {"text": f"read {URL}"}]}]
    return {"contents": said, "generationConfig": {"maxOutputTokens": 100}, **fields}


def converse(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": [*blocks, {"text": "hi"}]}]
    return {"messages": said, "inferenceConfig": {"maxTokens": 10}, **fields}


UNSEEN: list[tuple[str, dict[str, Any], str, int]] = [
    (CHAT, chat({"type": "video_url", "video_url": {"url": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "video_url", "videoUrl": {"URL": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "input_video", "input_video": {"file_id": "f"}}), "gpt-4o", 120),
    (CHAT, chat({"type": "audio_url", "audio_url": {"url": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "input_audio", "input_audio": URL}), "gpt-4o", 120),
    (CHAT, chat({"type": "input_audio", "input_audio": {"url": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "input_audio", "input_audio": {"data": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "file", "file": {"file_id": "f"}}), "gpt-4o", 120),
    (CHAT, chat({"type": "file", "file": {"file_url": URL}}), "gpt-4o", 120),
    (CHAT, chat({"type": "document_url", "document_url": URL}), "gpt-4o", 120),
    (CHAT, chat({"type": "image_url", "image_url": {"url": f"{URL}.mp4"}}), "gpt-4o", 120),
    (CHAT, chat({"type": "image_url", "image_url": {"url": "https://youtu.be/x"}}), "gpt-4o", 120),
    (CHAT, chat({"type": "blob", "source": {"s3": {"bucket": "b", "key": "k"}}}), "gpt-4o", 120),
    (CHAT, chat({"type": "blob", "source": {"s3Location": {"uri": "s3://b/k"}}}), "gpt-4o", 120),
    (CHAT, chat(data_sources=[{"type": "azure_search", "parameters": {}}]), "gpt-4o", 120),
    (CHAT, chat(enable_search=True), "gpt-4o", 120),
    (CHAT, chat(plugins=[{"id": "web"}]), "gpt-4o", 120),
    (CHAT, chat(tools=[{"type": "mcp", "server_url": URL}]), "gpt-4o", 120),
    (CHAT, chat(tools=[{"type": "openrouter:web_search"}]), "gpt-4o", 120),
    (CHAT, chat(tools=[{"type": "builtin_function", "function": {"name": "$web_search"}}]), "gpt-4o", 120),
    (CHAT, chat(model="groq/compound"), "groq/compound", 120),
    (RESPONSES, respond({"type": "input_file", "file_url": URL}), "gpt-4o", 120),
    (RESPONSES, respond({"type": "input_video", "video_url": URL}), "gpt-4o", 120),
    (RESPONSES, respond({"type": "input_audio", "input_audio": {"url": URL}}), "gpt-4o", 120),
    (RESPONSES, respond(previous_response_id="resp_1"), "gpt-4o", 120),
    (RESPONSES, respond(tools=[{"type": "mcp", "server_label": "a", "server_url": URL}]), "gpt-4o", 120),
    (RESPONSES, respond(tools=[{"type": "mcp", "connector_id": "c"}], max_tool_calls=1), "gpt-4o", 120),
    (RESPONSES, respond(tools=[{"type": "code_interpreter"}]), "gpt-4o", 400),
    (RESPONSES, respond(tools=[{"type": "shell"}]), "gpt-4o", 400),
    (RESPONSES, respond(tools=[{"type": "brand_new_tool"}]), "gpt-4o", 120),
    (
        RESPONSES,
        respond(tools=[{"type": "file_search", "max_num_results": 50}], max_tool_calls=1),
        "gpt-4o",
        120,
    ),
    (MESSAGES, messages({"type": "document", "source": {"type": "url", "url": URL}}), "claude-sonnet-4-5", 190),
    (MESSAGES, messages({"type": "document", "source": {"type": "file", "file_id": "f"}}), "claude-sonnet-4-5", 190),
    (MESSAGES, messages({"type": "container_upload", "file_id": "f"}), "claude-sonnet-4-5", 190),
    (MESSAGES, messages({"type": "video", "source": {"type": "url", "url": URL}}), "claude-sonnet-4-5", 190),
    (
        MESSAGES,
        messages(tools=[{"type": "web_fetch_20250910", "name": "web_fetch", "max_content_tokens": 1}]),
        "claude-sonnet-4-5",
        400,
    ),
    (MESSAGES, messages(mcp_servers=[{"type": "url", "url": URL}]), "claude-sonnet-4-5", 400),
    (MESSAGES, messages(tools=[{"type": "code_execution_20250825"}]), "claude-sonnet-4-5", 400),
    (MESSAGES, messages(tools=[{"type": "brand_new_20270101"}]), "claude-sonnet-4-5", 400),
    (GEMINI, contents({"fileData": {"fileUri": "https://youtu.be/x"}}), "gemini-2.5-pro", 1_000),
    (GEMINI, contents({"text": "x", "file_data": {"file_uri": "gs://b/o"}}), "gemini-2.5-pro", 1_000),
    (GEMINI, contents(tools=[{"urlContext": {}}]), "gemini-2.5-pro", 200),
    (GEMINI, contents(tools=[{"url_context": {}}]), "gemini-2.5-pro", 200),
    (GEMINI, contents(tools=[{"fileSearch": {"fileSearchStoreNames": ["a"]}}]), "gemini-2.5-pro", 61),
    (GEMINI, contents(tools=[{"codeExecution": {}}]), "gemini-2.5-pro", 200),
    (GEMINI, contents(tools=[{"retrieval": {"vertexRagStore": {}}}]), "gemini-2.5-pro", 200),
    (GEMINI, contents(cachedContent="cachedContents/1"), "gemini-2.5-pro", 1_000),
    (
        TALK,
        {"model": "gemini-2.5-pro", "input": "hi", "tools": [{"type": "url_context"}]},
        "gemini-2.5-pro",
        200,
    ),
    (CONVERSE, converse({"video": {"source": {"s3Location": {"uri": "s3://b/k"}}}}), "claude-sonnet-4-5", 190),
    (CONVERSE, converse({"document": {"source": {"s3Location": {"uri": "s3://b/k"}}}}), "claude-sonnet-4-5", 190),
    (CONVERSE, converse({"audio": {"source": {"s3Location": {"uri": "s3://b/k"}}}}), "claude-sonnet-4-5", 190),
    (
        CONVERSE,
        converse(toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}),
        "claude-sonnet-4-5",
        190,
    ),
    ("/v2/chat", chat({"type": "document_url", "url": URL}, model="command-a-03-2025"), "command-a-03-2025", 200),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "model", "thousands"), UNSEEN, ids=lambda v: str(v)[:90])
def test_what_only_the_provider_sees_is_held_for(
    path: str, body: dict[str, Any], model: str, thousands: int
) -> None:
    price = PRICES.find(model)
    assert price is not None
    assert held(path, body) >= bill(model, thousands * THOUSANDS)


SEEN: list[tuple[str, dict[str, Any]]] = [
    (CHAT, chat({"type": "text", "text": URL})),
    (CHAT, chat({"type": "image_url", "image_url": {"url": f"{URL}.png"}})),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "url", "parameters": {"url": URL}}}])),
    (RESPONSES, respond(tools=[{"type": "custom", "name": "f"}, {"type": "local_shell"}])),
    (
        RESPONSES,
        respond() | {"input": [{"type": "web_search_call", "action": {"type": "open_page", "url": URL}}]},
    ),
    (
        RESPONSES,
        respond(
            tools=[{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}],
        ),
    ),
    (MESSAGES, messages({"type": "web_search_tool_result", "content": [{"url": URL}]})),
    (
        MESSAGES,
        messages(tools=[{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]),
    ),
    (GEMINI, contents({"functionResponse": {"name": "f", "response": {"url": URL}}})),
    (GEMINI, contents(tools=[{"functionDeclarations": [{"name": "f"}]}])),
    (CONVERSE, converse(toolConfig={"tools": [{"toolSpec": {"name": "f"}}]})),
]


@pytest.mark.parametrize(("path", "body"), SEEN, ids=lambda v: str(v)[:90])
def test_what_the_request_carries_is_not_held_for_as_if_it_did_not(path: str, body: dict[str, Any]) -> None:
    facts = facts_of(path, body)
    assert (facts.unseen_input, facts.unseen_results, facts.turns) == (False, False, 1)


def test_each_turn_of_a_providers_tool_reads_the_request_again() -> None:
    search = [{"type": "web_search"}]
    small = held(RESPONSES, respond(tools=search, max_tool_calls=1))
    large = held(RESPONSES, respond(tools=search, max_tool_calls=1) | {"input": "x " * 50_000})
    assert large - small >= 2 * (bill("gpt-4o", 50_000, 0) - bill("gpt-4o", 1_000, 0))
    assert facts_of(RESPONSES, respond(tools=search, max_tool_calls=3)).turns == 4
    assert facts_of(MESSAGES, messages(tools=[{"type": "web_search_20250305", "max_uses": 2}])).turns == 3
    assert facts_of(MESSAGES, messages(tools=[{"type": "web_search_20250305"}])).turns == 11


@given(
    base=st.integers(100, 4_000),
    calls=st.integers(1, 20),
    results=st.lists(st.integers(0, 25_000), min_size=20, max_size=20),
)
def test_a_loop_within_its_calls_and_the_documented_sizes_is_never_above_its_hold(
    base: int, calls: int, results: list[int]
) -> None:
    body = respond(tools=[{"type": "code_interpreter"}], max_tool_calls=calls) | {"input": "x " * base}
    window, read, billed = 128_000, base, 0
    for turn in range(calls + 1):
        billed += min(read, window)
        read += results[turn] if turn < calls else 0
    assert held(RESPONSES, body) >= bill("gpt-4o", billed, 1_000)


def test_the_context_of_a_model_that_no_list_states_is_the_largest() -> None:
    hosted = Price("team-gpt", {"input": 1})
    assert replace(PRICES, prices={"gpt-4o": hosted}).context_tokens("gpt-4o", hosted) == 128_000
    assert PRICES.context_tokens("claude-opus-99", None) >= 1_000_000
    assert PRICES.context_tokens("never-heard-of", None) == 1_048_576
    assert PRICES.context_tokens("gpt-4o", PRICES.find("gpt-4o")) == 128_000


def test_without_a_default_cap_the_models_longest_answer_is_held_for() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    facts = facts_of(CHAT, body)
    quote = make_quote(PRICES, "gpt-4o", facts, measure(facts.texts, facts.text_bytes), None, None)
    assert quote.output_cap == 16_384
    assert quote.estimate_nanousd >= bill("gpt-4o", 1, 16_384)


@pytest.mark.parametrize(
    ("path", "body", "output"),
    [
        (CHAT, chat(n=4), 40),
        (CHAT, chat(model="qwen3-235b-a22b-thinking-2507", thinking_budget=5_000), 5_010),
        (CHAT, chat(model="qwen-plus", enable_thinking=True), 81_920),
        (MESSAGES, messages(thinking={"type": "enabled", "budget_tokens": 9_000}), 9_010),
        (GEMINI, contents(generationConfig={"maxOutputTokens": 9, "candidate_count": 3}), 27),
        ("/v1/chat", {"message": "hi", "max_tokens": 10, "num_generations": 5}, 50),
        (
            "/v1/completions",
            {"model": "davinci-002", "prompt": ["a", "b"], "best_of": 3, "max_tokens": 7},
            42,
        ),
    ],
    ids=lambda v: str(v)[:60],
)
def test_all_that_multiplies_or_escapes_the_cap_is_held_for(
    path: str, body: dict[str, Any], output: int
) -> None:
    facts = facts_of(path, body)
    assert (facts.output_cap or 0) * facts.choices + facts.extra_output_tokens >= output


def test_where_a_router_chooses_the_provider_the_dearest_is_held_for() -> None:
    body = chat(model="deepseek/deepseek-r1")
    plain = held(CHAT, body)
    routed = held(CHAT, body | {"provider": {"order": ["together"], "allow_fallbacks": True}})
    fastest = held(CHAT, body | {"model": "deepseek/deepseek-r1:nitro"})
    dearest = PRICES.find("deepseek-ai/DeepSeek-R1", Terms("together"))
    assert dearest is not None
    assert plain < routed <= fastest
    assert routed >= cost_nanousd(dearest, {"input": 1, "output": 10})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/audio/transcriptions", {"model": "whisper-1", "url": URL}),
        ("/v1/audio/transcriptions", {"model": "whisper-1", "file_url": URL}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [{"video_url": URL}]}),
        ("/v2/embed", {"model": "embed-v4.0", "inputs": [{"content": [{"type": "video_url", "url": URL}]}]}),
        (CHAT, chat(extra_body={"google": {"cached_content": "cachedContents/1"}})),
        (CHAT, {"model": "gpt-4o", "messages": [{"content": "hi", "attachments": [{"file_id": "f"}]}]}),
    ],
    ids=str,
)
def test_references_in_other_places_are_held_for(path: str, body: dict[str, Any]) -> None:
    facts = facts_of(path, body)
    assert facts.unseen_input or facts.fee_kinds == {"seconds": 100_000}
