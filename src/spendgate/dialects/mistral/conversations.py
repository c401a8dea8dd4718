"""Mistral's conversations: `POST …/conversations` starts one, `…/conversations/ID` goes on,
`…/conversations/ID/restart` goes back. Each is a completion, of a model or an agent, with tools that Mistral runs.

OpenAI has the same paths for what is stored, which is free: its bodies have `items` and `metadata`, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.mistral import usage as mistral_usage
from spendgate.dialects.mistral.usage import ConversationMeter
from spendgate.dialects.openai.request import PRIMING_TOKENS
from spendgate.dialects.request import hosted, paths, rewriting
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    NO_MODEL,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire import json_edit
from spendgate.dialects.wire.json_read import object_of
from spendgate.dialects.wire.numbers import truth_of
from spendgate.dialects.wire.traits import UsageFields

_STORED = frozenset({"items", "metadata"})
"""What OpenAI's requests of these paths have."""
_GOES_ON = re.compile(r"/conversations/[^/]+", re.IGNORECASE)
FUNCTION = frozenset({"function"})
"""Tools that the client runs."""


class MistralConversations(JsonApi):
    """The dialect `mistral-conversations`."""

    name = "mistral-conversations"
    title = "Mistral conversations, of models and agents; OpenAI's stored conversations are free"
    provider = "mistral"
    paths: tuple[str, ...] = ("/v1/conversations", "/v1/conversations/ID", "/v1/conversations/ID/restart")
    usage_fields: UsageFields = mistral_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "`conversation.response.done`"})
    not_metered: tuple[str, ...] = ("storage of documents in its libraries",)
    path_regex = "/+conversations(/+[^/]+(/+restart)?)?"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        if document.keys() <= _STORED:
            return RequestFacts(NO_MODEL, False, (), 0, free=True)
        texts = Texts()
        for key in ("inputs", "instructions", "tools", "tool_confirmations"):
            if (value := document.get(key)) is not None:
                hosted.add_unknown(texts, value)
        texts.extra_tokens += PRIMING_TOKENS
        options = object_of(document.get("completion_args"))
        if (form := options.get("response_format")) is not None:
            texts.add(form)
        agent = short(document.get("agent_id"), MODEL_CHARACTERS_MAX)
        stored = bool(agent) or _GOES_ON.search(paths.plain(path)) is not None
        runs = stored or hosted.runs_tools(document.get("tools"), FUNCTION)
        return RequestFacts(
            model=short(document.get("model"), MODEL_CHARACTERS_MAX) or agent or NO_MODEL,
            stream=truth_of(document.get("stream")),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=positive(options.get("max_tokens")),
            turns=hosted.CALLS_DEFAULT + 1 if runs else 1,
            unseen_results=runs,
            unseen_input=stored or texts.unseen or runs,
            output_hidden=True if runs else None,
            needs=frozenset({"tools"} if document.get("tools") else ()),
            fee_kinds={"searches": hosted.CALLS_DEFAULT} if runs else {},
            model_fixed=stored,
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the body: `model`, and `completion_args.max_tokens`, which is only ever lowered. Raises RequestError."""
        changes = rewriting.renamed(facts, model)
        if output_cap is not None:
            cap: dict[str, json_edit.Value] = {"max_tokens": rewriting.lowered(facts, output_cap)}

            def capped(old: bytes) -> bytes:
                return json_edit.edit(old if old.startswith(b"{") else b"{}", cap)

            changes["completion_args"] = capped
        return json_edit.edit(body, changes) if changes else body

    def read_document(self, document: object) -> Reading:
        return mistral_usage.read(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> ConversationMeter:
        return ConversationMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
