"""The real SDKs against the mock provider in a process of its own."""

import json
from typing import Any

import anthropic
import httpx
import openai
import pytest

from spendgate.dialects.registry import by_name
from spendgate.tokens.count import count

PROMPT = "Tell me about budgets."
PROMPT_TOKENS = count(PROMPT) + 4 + 3
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def gpt(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)


@pytest.fixture
def claude(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="x", max_retries=0)


def invoice(http: httpx.Client) -> dict[str, Any]:
    return http.get("/mock/invoice").json()["models"]


def test_openai_answers_and_bills_the_same(gpt: openai.OpenAI, http: httpx.Client) -> None:
    wish = {"x-mock-output-tokens": "7"}
    got = gpt.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=wish)
    assert count(got.choices[0].message.content) == 7
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (PROMPT_TOKENS, 7)
    assert got.choices[0].finish_reason == "stop"
    line = {"requests": 1, "aborted": 0, "tokens": {"input": PROMPT_TOKENS, "output": 7}}
    assert invoice(http) == {"gpt-4o": line}


def test_openai_keeps_to_the_output_cap_reasoning_included(gpt: openai.OpenAI, http: httpx.Client) -> None:
    wish = {"x-mock-output-tokens": "50", "x-mock-reasoning": "6"}
    got = gpt.chat.completions.create(
        model="o3", messages=MESSAGES, max_completion_tokens=10, n=2, extra_headers=wish
    )
    assert [count(c.message.content) for c in got.choices] == [4, 4]
    assert got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == 20
    assert got.usage.completion_tokens_details.reasoning_tokens == 12
    assert invoice(http)["o3"]["tokens"] == {"input": PROMPT_TOKENS, "output": 8, "reasoning": 12}


def test_openai_reports_parts_of_the_prompt_within_its_total(gpt: openai.OpenAI, http: httpx.Client) -> None:
    wish = {"x-mock-cached": "100", "x-mock-audio": "20", "x-mock-cache-write": "30"}
    usage = gpt.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=wish).usage
    details = usage.prompt_tokens_details
    assert (usage.prompt_tokens, details.cached_tokens, details.audio_tokens) == (150, 100, 20)
    tokens = {"cached_input": 100, "cache_write_5m": 30, "input_audio": 20, "output": 20}
    assert invoice(http)["gpt-4o"]["tokens"] == tokens


def test_an_openai_stream_has_a_token_a_chunk_and_usage_last(gpt: openai.OpenAI, http: httpx.Client) -> None:
    stream = gpt.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, max_tokens=5
    )
    chunks = list(stream)
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert [count(t) for t in texts] == [1] * 5
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-2].choices[0].finish_reason == "length"
    line = {"requests": 1, "aborted": 0, "tokens": {"input": PROMPT_TOKENS, "output": 5}}
    assert invoice(http) == {"gpt-4o": line}


def test_an_openai_stream_without_include_usage_does_not_speak_of_it(http: httpx.Client) -> None:
    body = {"model": "gpt-4o", "messages": MESSAGES, "stream": True}
    text = http.post("/v1/chat/completions", json=body).text
    assert "usage" not in text
    assert text.endswith("data: [DONE]\n\n")
    asked = http.post("/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}}).text
    events = asked.strip().split("\n\n")
    assert all('"usage":null' in e for e in events[:-2])
    assert '"choices":[]' in events[-2]


def test_anthropic_answers_and_bills_the_same(claude: anthropic.Anthropic, http: httpx.Client) -> None:
    wish = {"x-mock-cached": "40", "x-mock-cache-write": "10", "x-mock-cache-write-1h": "5"}
    got = claude.messages.create(model="claude-opus", max_tokens=9, messages=MESSAGES, extra_headers=wish)
    assert count(got.content[0].text) == 9
    assert got.stop_reason == "max_tokens"
    usage = got.usage
    assert (usage.input_tokens, usage.output_tokens) == (0, 9)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (40, 15)
    assert usage.cache_creation.ephemeral_1h_input_tokens == 5
    tokens = {"cached_input": 40, "cache_write_5m": 10, "cache_write_1h": 5, "output": 9}
    assert invoice(http)["claude-opus"]["tokens"] == tokens


def test_an_anthropic_stream_has_the_sequence_of_events(
    claude: anthropic.Anthropic, http: httpx.Client
) -> None:
    types = []
    with claude.messages.stream(model="claude-opus", max_tokens=100, messages=MESSAGES) as stream:
        types += [e.type for e in stream]
        final = stream.get_final_message()
    wire = [t for t in types if t != "text"]
    assert wire[0] == "message_start"
    assert wire[-1] == "message_stop"
    assert wire.count("content_block_delta") == 20
    assert final.usage.output_tokens == count(final.content[0].text) == 20
    assert final.usage.input_tokens == count(PROMPT) + 3
    assert invoice(http)["claude-opus"]["tokens"] == {"input": count(PROMPT) + 3, "output": 20}


def test_counting_anthropic_tokens_is_free(claude: anthropic.Anthropic, http: httpx.Client) -> None:
    assert (
        claude.messages.count_tokens(model="claude-opus", messages=MESSAGES).input_tokens == count(PROMPT) + 3
    )
    assert invoice(http) == {}


def test_errors_have_each_api_s_shape_and_cost_nothing(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, http: httpx.Client
) -> None:
    wish = {"x-mock-status": "429"}
    with pytest.raises(openai.RateLimitError) as o:
        gpt.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=wish)
    assert o.value.code == "rate_limit_exceeded"
    with pytest.raises(anthropic.RateLimitError) as a:
        claude.messages.create(model="claude-opus", max_tokens=9, messages=MESSAGES, extra_headers=wish)
    assert a.value.body["error"]["type"] == "rate_limit_error"
    assert http.get("/mock/invoice").json() == {"models": {}, "errors": 2, "resets": 0}


def test_an_sdk_that_retries_gets_through_after_the_failures(url: str, http: httpx.Client) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=2)
    wish = {"x-mock-fail-times": "1", "x-mock-fail-key": "retry", "x-mock-status": "500"}
    got = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, extra_headers=wish)
    assert got.usage.completion_tokens == 20
    assert http.get("/mock/invoice").json()["errors"] == 1
    assert invoice(http)["gpt-4o"]["requests"] == 1


def test_models_are_listed(gpt: openai.OpenAI) -> None:
    assert {"gpt-4o", "claude-opus"} <= {m.id for m in gpt.models.list()}


def test_a_file_of_any_size_is_taken(gpt: openai.OpenAI) -> None:
    blob = b"x" * 40_000_000
    assert gpt.files.create(file=("big.bin", blob), purpose="user_data").bytes > len(blob)


def test_openai_responses_answer_and_bill_the_same(gpt: openai.OpenAI, http: httpx.Client) -> None:
    wish = {"x-mock-output-tokens": "7", "x-mock-cached": "2", "x-mock-reasoning": "3"}
    got = gpt.responses.create(model="gpt-4o", input=PROMPT, extra_headers=wish)
    assert count(got.output_text) == 7
    assert (got.usage.input_tokens, got.usage.output_tokens) == (PROMPT_TOKENS, 10)
    with gpt.responses.stream(model="gpt-4o", input=PROMPT, extra_headers=wish) as stream:
        last = list(stream)[-1]
    assert last.type == "response.completed"
    assert last.response.usage == got.usage
    tokens = {"input": 2 * (PROMPT_TOKENS - 2), "cached_input": 4, "output": 14, "reasoning": 6}
    assert invoice(http) == {"gpt-4o": {"requests": 2, "aborted": 0, "tokens": tokens}}


def test_openai_responses_keep_to_their_cap_and_add_what_is_stored(gpt: openai.OpenAI) -> None:
    got = gpt.responses.create(
        model="gpt-4o", input=PROMPT, max_output_tokens=16, previous_response_id="resp_1"
    )
    assert (got.usage.output_tokens, got.usage.input_tokens) == (16, PROMPT_TOKENS + 1000)
    assert (got.status, got.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_openai_embeddings_bill_their_input(gpt: openai.OpenAI, http: httpx.Client) -> None:
    got = gpt.embeddings.create(model="text-embedding-3-small", input=[PROMPT, "hi"], encoding_format="float")
    assert len(got.data) == 2
    tokens = {"input": count(PROMPT) + 1}
    assert got.usage.prompt_tokens == tokens["input"]
    assert invoice(http) == {"text-embedding-3-small": {"requests": 1, "aborted": 0, "tokens": tokens}}


@pytest.mark.parametrize("stream", [False, True])
def test_ollama_answers_in_lines_and_bills_the_same(http: httpx.Client, stream: bool) -> None:
    body = {"model": "llama3", "messages": MESSAGES, "stream": stream, "options": {"num_predict": 5}}
    got = http.post("/api/chat", json=body)
    lines = [json.loads(line) for line in got.text.splitlines()]
    assert (len(lines), lines[-1]["done"]) == (6 if stream else 1, True)
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (count(PROMPT), 5)
    assert invoice(http)["llama3"]["tokens"] == {"input": count(PROMPT), "output": 5}


def test_a_mock_answer_of_each_api_is_read_by_its_dialect(http: httpx.Client) -> None:
    wish = {"x-mock-output-tokens": "7", "x-mock-reasoning": "2"}
    contents = [{"role": "user", "parts": [{"text": PROMPT}]}]
    asked = {
        "gemini": ("/v1beta/models/m:generateContent", {"contents": contents}),
        "cohere-chat": ("/v2/chat", {"model": "m", "messages": MESSAGES}),
        "ollama": ("/api/chat", {"model": "m", "messages": MESSAGES, "stream": False}),
        "bedrock-converse": ("/model/m/converse", {"messages": [{"content": [{"text": PROMPT}]}]}),
    }
    for name, (path, body) in asked.items():
        http.post("/mock/reset")
        answer = http.post(path, json=body, headers=wish).content
        read = {k: n for k, n in by_name(name).read_answer(answer).usage.items() if k != "requests"}
        billed = invoice(http)["m"]["tokens"]
        if name != "gemini":  # it alone tells reasoning apart
            billed["output"] += billed.pop("reasoning")
        assert read == billed, name
