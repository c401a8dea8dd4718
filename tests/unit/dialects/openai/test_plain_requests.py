"""Most chat requests are read by a short way: what it reads is what the long one does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.openai import request as r
from spendgate.dialects.openai.model_traits import is_plain
from spendgate.dialects.request.texts import parse_request
from spendgate.errors import RequestError

NAMES = (
    "gpt-4o", "gpt-4o-mini", "my model", "gpt-4o-search-preview", "sonar", "sonar-deep-research", "groq/compound",
    "qwq-32b", "qwen3-thinking", "dall-e-3", "gemini-3-pro-image", "openrouter/auto", "model-router", "a,b", "a,,b",
    "x:nitro", "x:exacto", "gpt-4o@preset/mine", "@preset/mine", "", " ", "a\x00b", " padded ", "m" * 300, "default",
)  # fmt: skip
PATHS = (
    "/v1/chat/completions",
    "/api/v1/chat/completions",
    "/openai/deployments/mine/chat/completions",
    "/v1beta/openai/chat/completions",
)
scalars = (
    st.none() | st.booleans() | st.integers(-3, 10**9) | st.floats(allow_nan=False) | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("include_usage", "type", "text", "cache_control", "ttl", "x")), inner
        )
    ),
    max_leaves=6,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(("text", "image_url", "input_audio", "file", "odd"))},
    optional={
        "text": st.text(max_size=12),
        "image_url": st.just({"url": "https://pictures/1.png"}),
        "cache_control": st.just({"type": "ephemeral", "ttl": "1h"}),
        "input_audio": st.just({"data": "AAAA"}),
        "file": st.just({"file_id": "f"}),
    },
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "tool", "system"))},
        optional={
            "content": st.text(max_size=40) | st.lists(parts, max_size=3),
            "name": scalars,
            "more": values,
        },
    )
    | values,
    max_size=3,
)
AT_TIMES = {
    "tools": values, "n": scalars, "user": scalars, "service_tier": scalars, "models": values, "plugins": values,
    "reasoning_effort": scalars, "provider": values, "enable_search": scalars, "web_search_options": values,
    "response_format": values, "modalities": st.just(["text", "audio"]), "preset": scalars, "data_sources": values,
    "prediction": values, "prompt_cache_retention": st.just("24h"), "extra_body": values, "agent_id": scalars,
}  # fmt: skip
documents = st.fixed_dictionaries(
    {"model": st.sampled_from(NAMES) | values, "messages": messages | values},
    optional={
        **dict.fromkeys(sorted(r._PLAIN - {"model", "messages"}), values),
        "stream": st.booleans(),
        "stream_options": st.just({"include_usage": True}) | values,
    },
)
others = st.fixed_dictionaries({}, optional=AT_TIMES)


def read_by(way: Any, *args: Any) -> RequestFacts | str:
    try:
        facts: RequestFacts = way(*args)
    except RequestError as problem:
        return str(problem)
    return facts


@given(documents, st.none() | others, st.sampled_from(PATHS))
def test_the_short_way_reads_what_the_long_one_does(
    document: dict[str, Any], more: dict[str, Any] | None, path: str
) -> None:
    body = orjson.dumps(document | (more or {}))
    assert read_by(r.read, body, path) == read_by(r.read_any, parse_request(body), body, path)


@given(st.sampled_from(NAMES), messages, st.sampled_from(sorted(r._PLAIN)), values)
def test_no_member_that_the_short_way_passes_over_says_anything(
    model: str, said: list[Any], key: str, value: Any
) -> None:
    body = orjson.dumps({"model": model, "messages": said, key: value})
    assert read_by(r.read, body, PATHS[0]) == read_by(r.read_any, parse_request(body), body, PATHS[0])


@pytest.mark.parametrize("model", ["gpt-4o", "my model", "llama-3.3-70b", "claude-sonnet-4-5"])
def test_the_short_way_is_taken_for_the_name_of_one_model(model: str) -> None:
    assert is_plain(model)


@pytest.mark.parametrize(
    "model", [n for n in NAMES[3:] if n not in ("a\x00b", " padded ", "m" * 300, "default")]
)
def test_a_name_that_says_more_goes_the_long_way(model: str) -> None:
    assert not is_plain(model)
