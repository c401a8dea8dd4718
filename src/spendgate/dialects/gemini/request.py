"""Reading and rewriting of Gemini requests. JSON keys may be spelled `likeThis` or `like_this`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import hosted, thinking
from spendgate.dialects.request.images import gemini_tokens, size_of
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    TIER_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire import json_edit
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.spelling import GOOGLE
from spendgate.errors import RequestError

CHOICES_MAX = 8
"""The API refuses a larger `candidateCount`."""

CONTENT_TOKENS = 4
"""Framing of a turn."""

IMAGE_TOKENS = 2_580
"""Ten tiles of 258 tokens (Gemini token guide: an image is cut into tiles of 768 pixels); Gemini 3 takes at
most 2,240 an image (media resolution guide)."""

MEDIA_BYTES_PER_TOKEN = 25
"""Video is some 300 tokens a second with its sound, sound alone 32 (Gemini token guide); no accepted format
carries video in less than 64 kbit/s, nor speech in less than 8."""

SEARCHES_DEFAULT = 10
"""Queries held for where a search tool is given."""
SEARCH_INPUT_TOKENS = 1_000
"""Input that the results of one query add: 720 were recorded (`toolUsePromptTokenCount`)."""

_CALL = re.compile(r"/([^/]+):(streamGenerateContent|generateContent)$", re.IGNORECASE)
_TARGET = re.compile(r"([^?]*/models/+)[^/?]+((?::|%3[Aa])(?:streamG|g)enerateContent/*)(\?.*)?$")
_SEARCHES = frozenset({"google_search", "google_search_retrieval", "enterprise_web_search", "google_maps"})
_CLIENT = frozenset({"function_declarations", "computer_use"})
"""Tools that the client runs. What files, code, pages (20 URLs of up to 34 MB: URL context, "Limitations") or a tool of
an unknown kind bring is unseen."""
RUNS_MAX = 5
"""Code is written and run anew at most so often in an answer (code execution)."""


def read(body: bytes, path: str, *, fixed: bool) -> RequestFacts:
    """Read the facts. `path` is plain; `fixed`: its model cannot be changed. Raises RequestError."""
    call = _CALL.search(path)
    if call is None or len(call[1]) > MODEL_CHARACTERS_MAX:
        raise RequestError("the path names no model; write …/models/MODEL:generateContent")
    document = parse_request(body, GOOGLE)
    texts = Texts()
    reader = Reader(texts, call[1])
    reader.read_content(_get(document, "systemInstruction"))
    contents = document.get("contents")
    for content in contents if isinstance(contents, list) else [contents]:
        reader.read_content(content)
    searches, turns, brings = _read_tools(texts, document)
    config = object_of(_get(document, "generationConfig"))
    for key in ("responseSchema", "responseJsonSchema"):
        if schema := _get(config, key):
            texts.add(schema)
            texts.needs.add("json_schema")
    _read_modalities(texts, _get(config, "responseModalities"))
    if "-image" in call[1]:  # such a model answers with images unasked
        texts.dear_kinds.add("output_image")
    return RequestFacts(
        model=call[1],
        stream=call[2].lower() == "streamgeneratecontent",
        output_hidden=thinking.asked(document, thinking.BUDGET),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=positive(_get(config, "maxOutputTokens")),
        choices=min(positive(_get(config, "candidateCount")) or 1, CHOICES_MAX),
        needs=frozenset(texts.needs),
        fee_kinds={"searches": searches} if searches else {},
        tool_input_tokens=searches * SEARCH_INPUT_TOKENS,
        model_fixed=fixed,
        dear_kinds=frozenset(texts.dear_kinds),
        turns=turns,
        unseen_results=brings,
        unseen_input=texts.unseen or brings or bool(_get(document, "cachedContent")),
        service_tier=short(_get(document, "serviceTier"), TIER_CHARACTERS_MAX),
    )


def rewrite(body: bytes, facts: RequestFacts, *, output_cap: int | None) -> bytes:
    """Edit the body. A cap is written into `generationConfig.maxOutputTokens`, as the client spells it, and
    only ever lowers the client's own. The model stands in the path. Raises RequestError."""
    if output_cap is None:
        return body
    given = facts.output_cap
    cap = str(output_cap if given is None else min(output_cap, given)).encode()
    document = parse_request(body, GOOGLE)
    outer = "generation_config" if "generation_config" in document else "generationConfig"
    config = object_of(document.get(outer))
    inner = "max_output_tokens" if "max_output_tokens" in config else "maxOutputTokens"

    def with_cap(old: bytes) -> bytes:
        change: dict[str, json_edit.Value] = {inner: cap}
        return json_edit.edit(old if old.startswith(b"{") else b"{}", change)

    return json_edit.edit(body, {outer: with_cap})


def is_fixed(path: str) -> bool:
    """Is the path (raw, without query) one whose model cannot be changed: an endpoint's, or spelled oddly?"""
    return _TARGET.match(path) is None


def rewrite_path(target: str, model: str) -> str | None:
    """The target with another model; None where `is_fixed`."""
    found = _TARGET.match(target)
    return None if found is None else f"{found[1]}{quote(model, safe='@')}{found[2]}{found[3] or ''}"


def _snake(key: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key)


def _get(document: JsonObject, key: str) -> Any:
    """A member by its name in either spelling."""
    value = document.get(key)
    return document.get(_snake(key)) if value is None else value


def _read_modalities(texts: Texts, modalities: Any) -> None:
    for kind in list_of(modalities):
        if isinstance(kind, str) and kind.upper() in ("IMAGE", "AUDIO"):
            texts.dear_kinds.add("output_" + kind.lower())
            texts.needs.add("images" if kind.upper() == "IMAGE" else "audio")


def _read_tools(texts: Texts, document: JsonObject) -> tuple[int, int, bool]:
    """Take the tools' schemas. Returns the searches that may be billed at most, how often the model may read the
    request, and whether the tools bring in what is of no documented size."""
    tools = document.get("tools")
    if not tools:
        return 0, 1, False
    texts.add(tools)
    texts.needs.add("tools")
    listed = tools if isinstance(tools, list) else [tools]
    kinds = {
        _snake(key) for tool in listed if isinstance(tool, dict) for key, v in tool.items() if v is not None
    }
    brings = bool(kinds - _SEARCHES - _CLIENT)
    searches = SEARCHES_DEFAULT if brings or kinds & _SEARCHES else 0
    return searches, RUNS_MAX + 1 if brings else 1, brings


class Reader:
    """Walks contents: turns of parts."""

    def __init__(self, texts: Texts, model: str = "") -> None:
        self._texts = texts
        self._model = model

    def read_content(self, content: Any) -> None:
        if content is None:
            return
        self._texts.extra_tokens += CONTENT_TOKENS
        parts = content.get("parts") if isinstance(content, dict) else content
        for part in parts if isinstance(parts, list) else [parts]:
            self._read_part(part)

    def _read_part(self, part: Any) -> None:
        """One part of a turn. An unknown kind is bounded by its JSON."""
        texts = self._texts
        if not isinstance(part, dict):
            texts.add(part)
            return
        data, file, answer = _get(part, "inlineData"), _get(part, "fileData"), _get(part, "functionResponse")
        if data is not None:
            self._read_data(object_of(data))
        if file is not None:
            texts.needs.add("images")
            texts.add_unseen()
        if isinstance(text := part.get("text"), str):
            texts.add(text)
        elif answer is not None:
            for inner in object_of(answer).get("parts") or ():
                self._read_media(inner)
            texts.add(answer)
        elif data is None and file is None:
            rest = {key: value for key, value in part.items() if _snake(key) != "thought_signature"}
            texts.add(rest) if _get(part, "functionCall") is not None else hosted.add_unknown(texts, rest)

    def _read_media(self, part: Any) -> None:
        """A file beside what a function answered."""
        if (data := _get(object_of(part), "inlineData")) is not None:
            self._read_data(object_of(data))
        elif isinstance(part, dict):
            self._texts.add_unseen()

    def _read_data(self, data: JsonObject) -> None:
        texts = self._texts
        kind = short(_get(data, "mimeType"), 20).lower()
        raw = data.get("data")
        length = len(raw) if isinstance(raw, str) else 0
        if kind.startswith("image/"):
            texts.extra_tokens += gemini_tokens(self._model, size_of(raw), IMAGE_TOKENS)
            texts.needs.add("images")
            texts.dear_kinds.add("input_image")
        elif kind.startswith(("audio/", "video/")):
            texts.extra_tokens += length * 3 // 4 // MEDIA_BYTES_PER_TOKEN + 1
            texts.needs.add("audio" if kind.startswith("audio/") else "images")
            texts.dear_kinds |= (
                {"input_audio"} if kind.startswith("audio/") else {"input_audio", "input_video"}
            )
        else:
            texts.add_document(length)
