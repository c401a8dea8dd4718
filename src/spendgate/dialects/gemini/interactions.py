"""Gemini interactions: `POST …/interactions`. A model or an agent answers; earlier turns may be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.gemini import interactions_usage
from spendgate.dialects.gemini.generate import google_error
from spendgate.dialects.gemini.interactions_usage import InteractionsStreamMeter
from spendgate.dialects.gemini.request import (
    IMAGE_TOKENS,
    MEDIA_BYTES_PER_TOKEN,
    RUNS_MAX,
    SEARCH_INPUT_TOKENS,
    SEARCHES_DEFAULT,
)
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.request import hosted, rewriting, thinking
from spendgate.dialects.request.texts import (
    TIER_CHARACTERS_MAX,
    Texts,
    model_of,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire import json_edit
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.dialects.wire.numbers import truth_of
from spendgate.dialects.wire.spelling import INTERACTIONS
from spendgate.dialects.wire.traits import UsageFields

AGENT_TURNS = 11
AGENT_WINDOWS = 3
"""An agent searches and reads in turns of its own, of which no limit is documented: it is held for three windows of
its model."""

TURN_TOKENS = 4
"""Framing of a turn."""


class GeminiInteractions(JsonApi):
    """The dialect `gemini-interactions`. An answer that is made in the background has no usage yet: it is
    charged its estimate."""

    name = "gemini-interactions"
    title = "Gemini interactions"
    provider = "google"
    paths: tuple[str, ...] = ("/v1beta/interactions",)
    usage_fields: UsageFields = interactions_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"interaction": "`interaction.completed`"})
    spelling = INTERACTIONS
    not_metered: tuple[str, ...] = ("grounding with Maps that its steps do not show",)
    path_regex = "/+v1(alpha|beta)?/+interactions"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body, INTERACTIONS)
        agent = document.get("agent")
        texts = Texts()
        reader = _Reader(texts)
        texts.add(document.get("system_instruction"))
        reader.read(document.get("input"))
        searches, brings = _read_tools(texts, document.get("tools"))
        config = object_of(document.get("generation_config"))
        if schema := document.get("response_format"):
            texts.add(schema)
            texts.needs.add("json_schema")
        named = agent if isinstance(agent, str) and agent and not document.get("model") else ""
        return RequestFacts(
            model=named[:256] or model_of(document),
            stream=truth_of(document.get("stream")),
            # what is made in the background goes on when its stream is left
            output_hidden=truth_of(document.get("background")) or thinking.asked(document),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=positive(config.get("max_output_tokens")),
            needs=frozenset(texts.needs),
            fee_kinds={"searches": searches} if searches else {},
            tool_input_tokens=searches * SEARCH_INPUT_TOKENS,
            model_fixed=bool(named),
            dear_kinds=frozenset(texts.dear_kinds),
            unseen_results=brings or bool(named),
            unseen_input=texts.unseen or brings or bool(named or document.get("previous_interaction_id")),
            turns=AGENT_TURNS if named else RUNS_MAX + 1 if brings else 1,
            unseen_windows=AGENT_WINDOWS if named else 1,
            service_tier=short(document.get("service_tier"), TIER_CHARACTERS_MAX),
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the body. A cap is written into `generation_config.max_output_tokens`, and only ever lowers
        the client's own. Raises RequestError."""
        changes = rewriting.renamed(facts, model)
        if output_cap is not None:
            changes["generation_config"] = rewriting.inside(
                "max_output_tokens", rewriting.lowered(facts, output_cap)
            )
        return json_edit.edit(body, changes) if changes else body

    def read_document(self, document: object) -> Reading:
        return interactions_usage.read(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> InteractionsStreamMeter:
        return InteractionsStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return google_error(rejection)


def _read_tools(texts: Texts, tools: Any) -> tuple[int, bool]:
    """Take the tools' schemas. Returns the searches that may be billed at most, and whether the tools bring in what is
    of no documented size."""
    if not tools:
        return 0, False
    texts.add(tools)
    texts.needs.add("tools")
    kinds = hosted.kinds_of(tools)
    searching = [k for k in kinds if k in ("google_search", "google_maps", "enterprise_web_search")]
    brings = any(k not in ("", "function", "computer_use") and k not in searching for k in kinds)
    return SEARCHES_DEFAULT if searching or brings else 0, brings


class _Reader:
    """Walks the input: a text, parts, or turns of parts; the walk keeps its own stack."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def read(self, value: Any) -> None:
        stack = [value]
        while stack:
            part = stack.pop()
            if isinstance(part, list):
                stack.extend(reversed(part))
            elif isinstance(part, dict):
                self._read_part(part, stack)
            else:
                self._texts.add(part)

    def _read_part(self, part: JsonObject, stack: list[Any]) -> None:
        texts, kind = self._texts, part.get("type")
        data = part.get("data")
        size = len(data) * 3 // 4 if isinstance(data, str) else 0
        if "content" in part and kind in (None, "message", "user_input", "model_output", "function_result"):
            texts.extra_tokens += TURN_TOKENS
            stack.append(part["content"])
        elif kind == "text":
            texts.add(part.get("text"))
        elif kind in ("audio", "video", "document", "image") and data is None:
            texts.add_unseen()  # a file behind a URI
        elif kind == "image":
            texts.add_image(1, IMAGE_TOKENS)
        elif kind in ("audio", "video"):
            texts.extra_tokens += size // MEDIA_BYTES_PER_TOKEN + 1
            texts.needs.add("audio" if kind == "audio" else "images")
            texts.dear_kinds |= {"input_audio"} if kind == "audio" else {"input_audio", "input_video"}
        elif kind == "document":
            texts.add_document(len(data) if isinstance(data, str) else None)
        else:
            rest = {k: v for k, v in part.items() if k != "signature"}
            known = isinstance(kind, str) and kind.endswith(("_call", "_result"))
            texts.add(rest) if known else hosted.add_unknown(texts, rest)
