"""Reading and rewriting of OpenAI chat completion requests."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.openai.model_traits import is_plain, traits_of
from spendgate.dialects.request import fallbacks, hosted, rewriting, thinking
from spendgate.dialects.request.images import Flat, Patches, Tiles, openai_tokens, size_of
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    NO_MODEL,
    TIER_CHARACTERS_MAX,
    USER_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire import json_edit
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.numbers import truth_of

CHOICES_MAX = 16_384
"""vLLM refuses a larger `n` (`VLLM_MAX_N_SEQUENCES`), OpenAI one above 128."""

MESSAGE_TOKENS = 4
PRIMING_TOKENS = 3
"""Tokens that frame each message, and start the answer (OpenAI cookbook, "How to count tokens")."""

ImageRule = Tiles | Patches | Flat
IMAGE_RULES: tuple[tuple[re.Pattern[str], ImageRule], ...] = (
    (re.compile(r"gpt-4o-mini"), Tiles(2_833, 5_667)),
    (re.compile(r"(4\.1|gpt-5\S*|o4)-(mini|nano)"), Patches(1_536, 246)),
    (re.compile(r"gpt-5\.[2-9]|gpt-[6-9]"), Patches(2_500, 120)),
    (re.compile(r"claude"), Flat(4_800)),
    (re.compile(r"gemini"), Flat(2_580)),
    (re.compile(r"(^|[/:])(gpt|chatgpt|o\d|computer-use|codex)"), Tiles(85, 170)),
    (re.compile(r""), Flat(16_384)),
)
"""How a model counts images (OpenAI vision guide, "Calculating costs"). At most 4 × 2 tiles (the often quoted
1,105 is a 1:2 image, not the worst); 1,536 patches × at most 2.46 (2,500 × 1.2 since 5.2). Others behind the same
API: Claude's and Gemini's largest (`anthropic_request`, `gemini_request`); of all else Qwen-VL takes the most, 16,384
(its model card, `max_pixels`)."""

AUDIO_BYTES_PER_TOKEN = 100
"""Audio is a token per 100 ms, and no accepted format carries speech in less than 8 kbit/s."""

AUDIO_REFERENCE_TOKENS = 16_384
"""An earlier spoken answer that a message refers to by id: the longest that an audio model gives."""

DEPLOYMENT = re.compile(r"/openai/+deployments/+([^/]+)/", re.IGNORECASE)
THINKING_TOKENS_MAX = 81_920
"""The longest thinking of Qwen's models. At Alibaba's Model Studio `max_tokens` limits the answer alone, and
`thinking_budget` the thinking (Model Studio, "Deep thinking")."""

PARSED_FILE_NANOUSD = 2_000_000_000
"""What OpenRouter's plugin `file-parser` takes for a document at most: 2 USD a thousand pages, and Mistral's OCR reads
no longer one (PDF guide; OCR limits)."""
_PARSERS_FREE = frozenset({"pdf-text", "native", "cloudflare-ai"})

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")

_INCLUDE_USAGE: dict[str, json_edit.Value] = {"include_usage": b"true"}


_PLAIN = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
        "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "stop",
    }
)  # fmt: skip
"""Members that say nothing but what `_read_plain` reads."""


def read(body: bytes, path: str) -> RequestFacts:
    """Read the facts. `path` is plain. Raises RequestError."""
    document = parse_request(body)
    model = document.get("model")
    if not (isinstance(model, str) and len(model) <= MODEL_CHARACTERS_MAX and _PLAIN.issuperset(document)):
        return read_any(document, body, path)
    if not is_plain(model) or deployment(path) or path.endswith(_OPENROUTER):
        return read_any(document, body, path)
    return _read_plain(document, model, body)


def _read_plain(document: JsonObject, model: str, body: bytes) -> RequestFacts:
    """Most requests: one known model, and nothing but messages, a limit and how to sample. What `read_any` makes of
    them."""
    texts = Texts()
    _read_messages(texts, document.get("messages"), image_tokens(model))
    stream = truth_of(document.get("stream"))
    options = object_of(document.get("stream_options"))
    return RequestFacts(
        model=model,
        stream=stream,
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens + PRIMING_TOKENS,
        output_cap=_output_cap(document),
        unseen_input=texts.unseen,
        cache_writes=hosted.cache_writes(body, b"cache_control", document),
        needs=frozenset(texts.needs),
        usage_hidden=stream and options.get("include_usage") is not True,
        dear_kinds=frozenset(texts.dear_kinds),
    )


def read_any(document: JsonObject, body: bytes, path: str) -> RequestFacts:
    """Read the facts of any request. Raises RequestError."""
    deployed = deployment(path)
    model = deployed or fallbacks.asked_model(document)
    several = fallbacks.asked_at_once(document)
    agent = short(document.get("agent_id"), MODEL_CHARACTERS_MAX)
    if agent and model == NO_MODEL:
        model = agent  # its answer names the model
    texts = Texts()
    _read_messages(texts, document.get("messages"), image_tokens(model))
    _read_tools(texts, document)
    texts.extra_tokens += PRIMING_TOKENS
    traits = traits_of(model)
    stream = truth_of(document.get("stream"))
    options = object_of(document.get("stream_options"))
    modalities = document.get("modalities")
    spoken = isinstance(modalities, list) and "audio" in modalities
    if traits.draws or (isinstance(modalities, list) and "image" in modalities):
        texts.dear_kinds.add("output_image")
    if spoken:
        texts.needs.add("audio")
        texts.dear_kinds.add("output_audio")
    searches = max(hosted.searches_of(document), int(traits.searches))
    runs = hosted.runs_tools(document.get("tools"))
    n = max(positive(document.get("n")) or 1, positive(document.get("best_of")) or 1)
    return RequestFacts(
        model=model,
        stream=stream,
        output_hidden=thinking.asked(document, thinking.EFFORT),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=_output_cap(document),
        turns=hosted.calls_of(document) + 1 if runs or traits.is_agent else 1,
        unseen_results=runs or traits.is_agent,
        unseen_input=texts.unseen
        or runs
        or bool(agent)
        or traits.is_agent
        or hosted.has_server_keys(document, own_search=traits.own_search),
        unseen_shown=not (texts.unseen or runs or agent)
        and hosted.only_data_sources(document, own_search=traits.own_search),
        fallbacks=fallbacks.read(document, model),
        fallbacks_add=several > 0,
        answers=several,
        routed=fallbacks.is_routed(document, model),
        cache_writes=hosted.cache_writes(body, b"cache_control", document) | hosted.long_writes(document),
        fee_nanousd=_parser_fee(document, path),
        choices=min(n, CHOICES_MAX),
        needs=frozenset(texts.needs),
        user=user_of(document),
        fee_kinds={"searches": searches * (hosted.CALLS_DEFAULT if runs else 1)} if searches or runs else {},
        usage_hidden=stream and options.get("include_usage") is not True,
        extra_output_tokens=_prediction_tokens(document.get("prediction"))
        + _thinking_beside(document, model),
        model_fixed=bool(deployed or agent),
        dear_kinds=frozenset(texts.dear_kinds),
        service_tier=short(document.get("service_tier"), TIER_CHARACTERS_MAX),
    )


def deployment(path: str) -> str:
    """The deployment that an Azure path names in the model's stead; "" where it names none."""
    found = DEPLOYMENT.search(path)
    return found[1] if found else ""


def rewrite(
    body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
) -> bytes:
    """Edit the body. The cap goes where the client's own limit stands (`max_tokens`,
    `max_completion_tokens` or both, each only ever lowered), else into `max_completion_tokens`.
    Raises RequestError."""
    body = rewriting.narrowed(body, facts, model)
    changes = rewriting.renamed(facts, model)
    if output_cap is not None:
        cap = max(output_cap, facts.output_cap_min)
        document = parse_request(body)
        used = [key for key in ("max_completion_tokens", "max_tokens") if document.get(key) is not None]
        for key in used or ["max_completion_tokens"]:
            given = positive(document.get(key))
            changes[key] = str(cap if given is None else min(cap, given)).encode()
    if ask_usage:
        changes["stream_options"] = with_usage
    return json_edit.edit(body, changes) if changes else body


def with_usage(old: bytes) -> bytes:
    """Ask for usage in the `stream_options` that there are."""
    return json_edit.edit(old, _INCLUDE_USAGE) if old.startswith(b"{") else b'{"include_usage":true}'


def _output_cap(document: JsonObject) -> int | None:
    """The larger of both: providers look at one, at the other, or at both."""
    one, other = document.get("max_completion_tokens"), document.get("max_tokens")
    first = None if one is None else positive(one)
    second = None if other is None else positive(other)
    return max(first or 0, second or 0) or None


_SWITCHES = frozenset({"chat_template_kwargs", "enable_thinking", "thinking_budget"})


def _thinking_beside(document: JsonObject, model: str) -> int:
    """Tokens of a thinking that the output cap does not contain."""
    if _SWITCHES.isdisjoint(document) and not traits_of(model).thinks_beside:
        return 0
    kwargs = object_of(document.get("chat_template_kwargs"))
    switch = document.get("enable_thinking", kwargs.get("enable_thinking"))
    budget = positive(document.get("thinking_budget", kwargs.get("thinking_budget")))
    if switch is False or not (switch or budget or traits_of(model).thinks_beside):
        return 0
    return min(budget or THINKING_TOKENS_MAX, THINKING_TOKENS_MAX)


def _parser_fee(document: JsonObject, path: str) -> int:
    """What OpenRouter may take for reading the request's documents for the model, in nano-USD: its parser is chosen
    by a plugin, and used unasked for models that read no PDF."""
    plugins = document.get("plugins")
    if plugins is None and not path.endswith(_OPENROUTER):
        return 0
    parsers = [
        object_of(object_of(p).get("pdf")).get("engine")
        for p in list_of(plugins)
        if object_of(p).get("id") == "file-parser"
    ]
    if (parsers and all(p in _PARSERS_FREE for p in parsers)) or not (parsers or path.endswith(_OPENROUTER)):
        return 0
    return PARSED_FILE_NANOUSD * _documents(document.get("messages"))


_OPENROUTER = "/api/v1/chat/completions"


def _documents(messages: Any) -> int:
    contents = (m.get("content") for m in list_of(messages) if isinstance(m, dict))
    parts = (p for content in contents if isinstance(content, list) for p in content)
    return sum(isinstance(p, dict) and p.get("type") == "file" for p in parts)


def user_of(document: JsonObject) -> str:
    metadata = object_of(document.get("metadata"))
    for value in (document.get("user"), document.get("safety_identifier"), metadata.get("user_id")):
        if user := short(value, USER_CHARACTERS_MAX):
            return user
    return ""


@lru_cache(maxsize=1024)
def image_tokens(model: str) -> ImageRule:
    """The rule by which a model counts images."""
    return next(rule for pattern, rule in IMAGE_RULES if pattern.search(model))


def _prediction_tokens(prediction: object) -> int:
    """A predicted output's rejected tokens are billed as output: at most a token a byte."""
    if prediction is None:
        return 0
    content = object_of(prediction).get("content")
    texts = Texts()
    for part in content if isinstance(content, list) else [content]:
        texts.add(part.get("text") if isinstance(part, dict) else part)
    return texts.length_bytes


_MESSAGE_KEYS = frozenset({
    "role", "content", "name", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call", "audio",
    "tool_call_id", "id", "cache_control",
})  # fmt: skip
"""Members of a message that are read by themselves, or are none of its text."""
_PLAIN_MESSAGE = frozenset({"role", "content"})
"""All that most messages have."""


_TOLD = frozenset({"annotations", "citations", "metadata", "reasoning_details", "search_results"})
"""What came with an earlier answer: the URLs in it are not read again."""


def _read_messages(texts: Texts, messages: Any, image_rule: ImageRule) -> None:
    if not isinstance(messages, list):
        texts.add(messages)
        return
    texts.extra_tokens += MESSAGE_TOKENS * len(messages)
    for message in messages:
        if not isinstance(message, dict):
            texts.add(message)
            continue
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                _read_part(texts, part, image_rule)
        else:
            texts.add(content)
        if not message.keys() <= _PLAIN_MESSAGE:
            _read_members(texts, message)


def _read_members(texts: Texts, message: JsonObject) -> None:
    """What a message has beside its content."""
    for key in ("name", "refusal", "reasoning_content", "reasoning"):
        if (value := message.get(key)) is not None:
            texts.add(value)
    for key in message.keys() - _MESSAGE_KEYS:
        if key in _TOLD:
            texts.add(message[key])
        else:
            hosted.add_member(texts, key, message[key])
    for call in list_of(message.get("tool_calls")):
        _read_call(texts, call)
    if (call := message.get("function_call")) is not None:
        _read_function(texts, call)
    if message.get("audio") is not None:
        texts.extra_tokens += AUDIO_REFERENCE_TOKENS
        texts.dear_kinds.add("input_audio")


def _read_part(texts: Texts, part: Any, image_rule: ImageRule) -> None:
    """One part of a message. An unknown kind is bounded by its JSON."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        texts.add(part.get(kind))
    elif kind == "image_url":
        image = part.get("image_url")
        low = isinstance(image, dict) and image.get("detail") == "low"
        url = image.get("url") if isinstance(image, dict) else image
        size = size_of(url)
        if hosted.names_media(url):
            hosted.add_unknown(texts, part)
            texts.add_unseen()
        texts.extra_tokens += openai_tokens(image_rule, size, low=low)
        texts.needs.add("images")
        texts.dear_kinds.add("input_image")
    elif kind == "input_audio":
        add_audio(texts, part.get("input_audio"))
    elif kind == "file":
        data = object_of(part.get("file")).get("file_data")
        texts.add_document(len(data) if isinstance(data, str) else None)
    else:
        hosted.add_unknown(texts, part)


def add_audio(texts: Texts, audio: Any) -> None:
    """Sound in base64 is bounded by its bytes; anything else that it may be given as is a reference."""
    data = object_of(audio).get("data")
    texts.needs.add("audio")
    if isinstance(data, str) and data and not _URL.match(data):
        texts.extra_tokens += len(data) * 3 // 4 // AUDIO_BYTES_PER_TOKEN + 1
        texts.dear_kinds.add("input_audio")
    else:
        texts.add_unseen(("input_audio",))


def _read_call(texts: Texts, call: Any) -> None:
    if not isinstance(call, dict):
        texts.add(call)
        return
    texts.extra_tokens += MESSAGE_TOKENS
    _read_function(texts, call.get("function"))
    _read_function(texts, call.get("custom"))


def _read_function(texts: Texts, function: Any) -> None:
    if not isinstance(function, dict):
        texts.add(function)
        return
    for key in ("name", "arguments", "input"):
        texts.add(function.get(key))


def _read_tools(texts: Texts, document: JsonObject) -> None:
    for key in ("tools", "functions"):
        if tools := document.get(key):
            texts.add(tools)
            texts.needs.add("tools")
    form = document.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        texts.add(form.get("json_schema"))
        texts.needs.add("json_schema")
