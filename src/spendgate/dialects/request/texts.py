"""Collecting what a provider will tokenise out of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.numbers import count_asked
from spendgate.dialects.wire.spelling import PLAIN, Spelling, says_once
from spendgate.errors import RequestError

MODEL_CHARACTERS_MAX = 256
USER_CHARACTERS_MAX = 200
TIER_CHARACTERS_MAX = 40
DOCUMENT_TOKENS_MAX = 200_000
"""A document in the request counts a token a byte up to this: some 100 pages at the 1,500 to 3,000 tokens a page that
Anthropic states for PDFs (PDF support, "Estimate your costs"). A larger one, and one behind a reference, is unseen."""
MEDIA_KINDS = frozenset({"input_audio", "input_image", "input_video"})
"""What may be behind a reference: its dearest rate counts."""
PAGE_TOKENS = 3_000
"""The least for which a document is held: a page is shown as an image too, however short its file."""


class Texts:
    """Gathers texts, their bytes, and bounds for what is not text."""

    __slots__ = ("dear_kinds", "extra_tokens", "length_bytes", "needs", "texts", "unseen")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length_bytes = 0
        self.extra_tokens = 0
        self.needs: set[str] = set()
        self.dear_kinds: set[str] = set()
        self.unseen = False
        """Something is referred to that only the provider will see."""

    def add(self, value: Any) -> None:
        """Add a string as it is, any other value as compact JSON; nothing for None."""
        if value is None or value == "":
            return
        if not isinstance(value, str):
            try:
                value = json_read.dumps(value)
            except json_read.NotJson as e:
                raise RequestError(f"the body is {e}; flatten it") from e
        if value.isascii():
            self.length_bytes += len(value)
        else:
            try:
                self.length_bytes += len(value.encode())
            except UnicodeEncodeError:
                self.length_bytes += json_read.utf8_length(value)
                value = json_read.clean(value)
        self.texts.append(value)

    def add_image(self, images: int, tokens_each: int) -> None:
        """Bound images by the most tokens that one takes."""
        self.extra_tokens += images * tokens_each
        self.needs.add("images")
        self.dear_kinds.add("input_image")

    def add_document(self, base64_characters: int | None) -> None:
        """Bound a document by its bytes: a token a byte, at least a page's tokens. One that is only referred to
        (None), or larger than `DOCUMENT_TOKENS_MAX`, is bounded by the context window."""
        size = None if base64_characters is None else base64_characters * 3 // 4
        if size is not None:
            self.extra_tokens += min(max(size, PAGE_TOKENS), DOCUMENT_TOKENS_MAX)
        if size is None or size > DOCUMENT_TOKENS_MAX:
            self.add_unseen(("input_image",))

    def add_unseen(self, kinds: Iterable[str] = MEDIA_KINDS) -> None:
        """Something is behind a URL or an id: what it is billed as at the dearest is one of `kinds`."""
        self.unseen = True
        self.dear_kinds.update(kinds)


NO_MODEL = "unknown"
"""Stands for the model of a request that names none: it has no price of its own, and is never free."""


def parse_request(body: bytes, spelling: Spelling = PLAIN) -> json_read.JsonObject:
    """Parse a request body, which says each thing once and as the API spells it (`readable` sees to it). Raises
    RequestError with what is wrong."""
    if not body or body.isspace():
        raise RequestError("the body is empty; send a JSON object with a model")
    try:
        document = json_read.parse(body)
    except json_read.NotJson as e:
        raise RequestError(f"the body is not JSON: {e}") from e
    if not isinstance(document, dict):
        raise RequestError("the body is JSON but not an object; send an object with a model")
    if not spelling.is_plain(document) or not says_once(body, document):
        raise RequestError("the body names a thing twice, or not as this API does")
    return document


def model_of(document: json_read.JsonObject) -> str:
    """The body's model; `NO_MODEL` where it names none that can be one."""
    model = document.get("model")
    if not isinstance(model, str) or not model.strip() or len(model) > MODEL_CHARACTERS_MAX:
        return NO_MODEL
    return json_read.clean(model)


def positive(value: object) -> int | None:
    """A limit in tokens; None for what is no positive count (the provider will refuse or ignore it)."""
    return count_asked(value)


def short(value: object, characters_max: int) -> str:
    """A label that a client chose, bounded; `` where it is no string."""
    return json_read.clean(value[:characters_max]) if isinstance(value, str) else ""
