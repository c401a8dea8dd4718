"""Metering of streamed OpenAI chat completions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.openai.request import CHOICES_MAX
from spendgate.dialects.response.event_filter import StreamedTokens
from spendgate.dialects.response.growing import believed, falls_back, later
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_read
from spendgate.usage import Usage

_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "refusal")
_PLAIN_DELTA = frozenset({"role", "content"})
"""All that most pieces have."""


class OpenAIStreamMeter(EventMeter):
    """Meters one stream of chunks.

    Usage comes in a last chunk without choices, or (some providers) in many chunks, cumulative: the last one
    wins. One that was told before all choices had finished, or before the last of what they made, is not the whole:
    where the stream ends without another, it has told none. With `hide_usage` that last chunk is taken out, since
    clients that did not ask for it index `choices[0]`. A chunk whose `choices` are empty but that has no usage
    (Azure's first) passes.
    """

    def __init__(self, *, hide_usage: bool, count: Callable[[str], int]) -> None:
        super().__init__(count=count, hide=hide_usage)
        self._context = StreamedTokens(count)
        """What Azure's data sources brought in."""
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        """Indexes of the choices that began, and of those that finished."""
        self._outdated = True
        """Did something come after the last usage that it cannot have counted?"""
        self._last_came = False
        """Did a usage come in a chunk of its own, after something was made?"""
        self._made = False
        self._done = False

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        shown = super().feed(piece, end)
        if end and self._all_ended and not (self._failed or self._unread):
            self._done = True  # it ended cleanly after all its choices: some never say that it is done
        return shown

    @property
    def _all_ended(self) -> bool:
        return bool(self._ended) and self._begun <= self._ended

    @property
    def complete(self) -> bool:
        return self._done or ((self._all_ended or self._last_came) and not self._outdated)

    @property
    def hidden(self) -> bool:
        return self._hidden or (bool(self._ended) and self._outdated and not self._done)

    def result(self) -> Reading:
        reading = self._reading
        if reading is None:
            problem = self._unread or ("no_usage" if self.complete else "truncated")
            return Reading({}, self._model, problem)
        if reading.problem is not None:
            return reading
        if self._outdated:
            problem = "no_usage" if self.complete else "truncated"
            return replace(reading, usage={}, parts=(), told_nanousd=None, problem=problem)
        return believed(reading, self._tokens) if self.complete else replace(reading, problem="truncated")

    def partial(self) -> tuple[Usage, int]:
        if self._reading:
            return super().partial()
        brought = self._context.total
        return {"tool_input": brought} if brought else {}, self._tokens.total

    def done(self) -> None:
        self._done = True

    def oversize(self) -> None:
        super().oversize()
        self._outdated = True

    def take(self, chunk: json_read.JsonObject, name: bytes) -> bool:
        """True for the extra usage chunk."""
        if name == b"error" or chunk.get("error"):
            self._failed = True
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._read_choice(choice)
        usage = chunk.get("usage")
        if usage is None:
            if "x_groq" in chunk:
                usage = json_read.object_of(chunk["x_groq"]).get("usage")
            elif choices:
                usage = openai_usage.of_choices(choices)
            if usage is None:
                if not self._model and isinstance(model := chunk.get("model"), str):
                    self._model = json_read.clean(model[:256])
                return False
        self._read_usage(chunk, usage)
        return choices == [] and chunk.get("usage") is not None

    def _read_usage(self, chunk: json_read.JsonObject, usage: object) -> None:
        reading = openai_usage.read(chunk, usage)
        if reading.problem == "no_usage":
            return
        if not reading.model and self._model:
            reading = replace(reading, model=self._model)
        if not falls_back(self._reading, reading):
            self._outdated = False
            self._last_came = self._made and not chunk.get("choices")
        self._reading = later(self._reading, reading)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        if choice.get("error"):
            self._failed = True
        made = False
        if text := choice.get("text"):  # legacy completions
            made = True
            self._add(text)
        if isinstance(delta := choice.get("delta"), dict):
            made = self._read_delta(delta) or made
        index = choice.get("index")
        self._follow(index if type(index) is int else 0, made, bool(choice.get("finish_reason")))

    def _follow(self, index: int, made: bool, finishes: bool) -> None:
        """Note how far a choice is, and whether the usage told so far can have counted that."""
        if finishes and index not in self._ended and len(self._ended) < CHOICES_MAX:
            self._ended.add(index)
            self._outdated = True
        elif (made or not self._ended) and len(self._begun) < CHOICES_MAX:
            self._begun.add(index)
        if made:
            self._made = self._outdated = True

    def _read_delta(self, delta: json_read.JsonObject) -> bool:
        """Count what a piece of a choice brings. True where it brings anything."""
        if _PLAIN_DELTA.issuperset(delta):
            self._add(text := delta.get("content"))
            return bool(text)
        for key in _TEXT_KEYS:
            text = delta.get(key)
            if text and isinstance(text, str):
                self._tokens.add(text)
                self._hidden = self._hidden or key.startswith("reasoning")
        if (context := delta.get("context")) and isinstance(context, dict):
            self._context.add(json_read.dumps(context))
        self._hidden = self._hidden or bool(delta.get("reasoning_details"))
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._read_call(call.get("function"))
        if "function_call" in delta:
            self._read_call(delta["function_call"])
        return any(value for key, value in delta.items() if key != "role")

    def _read_call(self, function: object) -> None:
        if isinstance(function, dict):
            for key in ("name", "arguments"):
                text = function.get(key)
                if text and isinstance(text, str):
                    self._tokens.add(text)


class ChatTerminator:
    """Ends a stream of the chat API as its length limit does, which an application knows how to read."""

    def see(self, piece: bytes) -> None:
        """Nothing has to be closed."""

    def end(self, model: str, output_tokens: int) -> bytes:
        chunk = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
        }
        return b"data: " + json_read.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
