"""What a model's name alone says of how it is billed behind the API of chat completions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from spendgate.dialects.request import fallbacks, hosted
from spendgate.dialects.wire.json_read import clean

SEARCH_MODEL = re.compile(r"-search-(preview|api)")
"""Models that search the web on every call, at one fee a call."""

_SONAR = re.compile(r"(^|/)sonar(-pro|-reasoning)?$")
"""Perplexity's, whose searches are a fee a request."""
AGENT_MODEL = re.compile(
    r"(^|/)(compound(-beta)?(-mini)?|sonar-(deep-research|pro-search|reasoning-pro))$|deep-research"
)
"""Models that search and run code by themselves, in turns (Groq's compound systems, deep research)."""

DRAWS = re.compile(r"(^|[/:._-])images?([._:-]|$)|nano-banana|seedream|dall-e|flux", re.IGNORECASE)
"""Models of pictures by their names (Gemini's, OpenAI's, ByteDance's, Black Forest Labs'), as chats have them."""

THINKS_BESIDE = re.compile(r"(^|/)(qwq|qvq)|qwen.*thinking", re.IGNORECASE)


class Traits(NamedTuple):
    """What a model's name says of how it is billed."""

    searches: bool
    """It searches the web on every call, at one fee a call."""
    own_search: bool
    """It searches by itself, and bills no token for what it finds."""
    is_agent: bool
    """It searches and runs code by itself, in turns."""
    thinks_beside: bool
    """Its thinking is not in the output cap."""
    draws: bool
    """It makes pictures, asked for or not."""


@lru_cache(maxsize=1024)
def traits_of(model: str) -> Traits:
    """What the name says."""
    searches = SEARCH_MODEL.search(model) is not None
    return Traits(
        searches,
        searches or _SONAR.search(model) is not None,
        AGENT_MODEL.search(model) is not None,
        THINKS_BESIDE.search(model) is not None,
        DRAWS.search(model) is not None,
    )


@lru_cache(maxsize=1024)
def is_plain(model: str) -> bool:
    """Is it the name of one model, of which its name says nothing more?"""
    one = bool(model.strip()) and "," not in model and clean(model) == model
    chosen = fallbacks.is_router(model) or fallbacks.is_variant(model) or hosted.PRESET in model
    return one and not chosen and not any(traits_of(model))
