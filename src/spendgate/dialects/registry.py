"""The dialects that are spoken, and which one a request is in."""

from __future__ import annotations

from functools import lru_cache

from spendgate.dialects.anthropic.batches import AnthropicBatches
from spendgate.dialects.anthropic.messages import AnthropicMessages
from spendgate.dialects.anthropic.vertex import AnthropicVertex
from spendgate.dialects.base import Dialect
from spendgate.dialects.bedrock.converse import BedrockConverse
from spendgate.dialects.bedrock.invoke import BedrockInvoke
from spendgate.dialects.cohere.chat import CohereChat
from spendgate.dialects.cohere.chat_v1 import CohereV1
from spendgate.dialects.cohere.embed_rerank import CohereEmbed, CohereRerank
from spendgate.dialects.gemini.embeddings import GeminiEmbeddings
from spendgate.dialects.gemini.generate import Gemini
from spendgate.dialects.gemini.interactions import GeminiInteractions
from spendgate.dialects.mistral.conversations import MistralConversations
from spendgate.dialects.ollama.dialect import Ollama
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.openai.completions import OpenAICompletions
from spendgate.dialects.openai.embeddings import OpenAIEmbeddings
from spendgate.dialects.openai.moderations import Moderations
from spendgate.dialects.openai.responses import OpenAIResponses
from spendgate.dialects.openai.vertex_publishers import VertexPublishers
from spendgate.dialects.openai_media.audio import OpenAISpeech, OpenAITranscriptions
from spendgate.dialects.openai_media.images import OpenAIImages
from spendgate.dialects.request import paths

DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    OpenAIImages(),
    OpenAITranscriptions(),
    OpenAISpeech(),
    Moderations(),
    AnthropicMessages(),
    AnthropicBatches(),
    AnthropicVertex(),
    Gemini(),
    GeminiEmbeddings(),
    GeminiInteractions(),
    MistralConversations(),
    VertexPublishers(),
    CohereChat(),
    CohereV1(),
    CohereEmbed(),
    CohereRerank(),
    Ollama(),
    BedrockConverse(),
    BedrockInvoke(),
)

_MARKS = (
    ("/v1/messages", "anthropic-messages"),
    ("/v1/complete", "anthropic-messages"),
    ("/model/", "bedrock-converse"),
    ("/v1beta/", "gemini"),
    ("/models/", "gemini"),
    ("/v2/", "cohere-chat"),
    ("/api/", "ollama"),
)

KNOWN_PATH_MAX = 256
"""Longer paths are not remembered, so that a client cannot fill the memory with them."""


def find(method: str, path: str, content_type: str) -> Dialect | None:
    """The dialect of a request (path without query), None where no API is known that costs money."""
    media_type = content_type.partition(";")[0]
    return (_known if len(path) <= KNOWN_PATH_MAX else _search)(method, path, media_type)


def claims(path: str) -> bool:
    """Would a POST with a body to this path (without query) be metered, or may some server take it for one that is?"""
    if find("POST", path, "") is not None or paths.turns(path):
        return True
    uncut = paths.uncut(path)
    return uncut != path and find("POST", uncut, "") is not None


def _search(method: str, path: str, media_type: str) -> Dialect | None:
    return next((d for d in DIALECTS if d.matches(method, path, media_type)), None)


_known = lru_cache(maxsize=2048)(_search)  # asking every dialect for its pattern costs up to 0.1 ms


def nearest(path: str) -> Dialect:
    """The dialect whose errors a client of this path most likely reads: by what a path has in common with
    those of its family, else OpenAI's, which most copy."""
    place = paths.plain(path).lower()
    for mark, name in _MARKS:
        if mark in place:
            return by_name(name)
    return DIALECTS[0]


def by_name(name: str) -> Dialect:
    """The dialect of this name. Raises KeyError, which names those there are."""
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise KeyError(f"no dialect {name!r}; there are {', '.join(d.name for d in DIALECTS)}")
