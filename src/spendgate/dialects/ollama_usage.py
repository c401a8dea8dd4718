"""Usage as Ollama reports it, in a JSON answer or on the last line (`done: true`) of a stream.

`prompt_eval_count` is left out where the whole prompt was cached; `eval_count` includes thinking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.dialects import frames, jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import count_of, object_of
from spendgate.dialects.streamed import StreamedTokens
from spendgate.dialects.texts import MODEL_CHARACTERS_MAX, short
from spendgate.usage import KINDS, Usage


def read(document: object) -> Reading:
    """Read an answer, or the last line of one. Never raises."""
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    if document.get("eval_count") is None and document.get("prompt_eval_count") is None:
        return Reading({}, model, "no_usage")
    counts = [
        0 if document.get(k) is None else count_of(document[k]) for k in ("prompt_eval_count", "eval_count")
    ]
    if None in counts:
        return Reading({}, model, "bad_usage")
    usage = {"input": counts[0] or 0, "output": counts[1] or 0, "requests": 1}
    return Reading({kind: usage[kind] for kind in KINDS if usage.get(kind)}, model)


class OllamaStreamMeter:
    """Meters one stream of JSON lines; nothing is ever taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._framer = frames.Framer()
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._model = ""
        self._failed = False
        self._unread = ""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        for raw in self._framer.feed(piece):
            if raw is None:
                self._unread = "truncated"
            else:
                self._read(raw)
        return None

    @property
    def complete(self) -> bool:
        return self._reading is not None

    @property
    def failed(self) -> bool:
        return self._failed

    def result(self) -> Reading:
        return self._reading or Reading({}, self._model, self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def _read(self, raw: bytes) -> None:
        try:
            line: Any = jsonbody.parse(raw)
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return
        self._model = short(line.get("model"), MODEL_CHARACTERS_MAX) or self._model
        if line.get("error"):
            self._failed = True
        message = object_of(line.get("message"))
        for text in (
            line.get("response"),
            line.get("thinking"),
            message.get("content"),
            message.get("thinking"),
        ):
            if text and isinstance(text, str):
                self._tokens.add(text)
        if calls := message.get("tool_calls"):
            try:
                self._tokens.add(jsonbody.dumps(calls))
            except jsonbody.NotJson:
                self._unread = self._unread or "not_json"
        if line.get("done") is True:
            self._reading = read(line)
