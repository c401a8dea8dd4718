"""Usage as Mistral's conversations report it, in a JSON answer or in the last event of a stream.

`prompt_tokens` leaves out what tools brought in (`connector_tokens`, billed as input); `total_tokens` is the sum of the
three. `connectors` counts the calls of each tool that Mistral ran.
"""

from __future__ import annotations

from types import MappingProxyType

from spendgate.dialects.base import Reading
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, count_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import COUNT_MAX, KINDS

_FEES = (("search", "searches"), ("image", "images"), ("code", "code_runs"))
"""Words in a connector's name, and the kind that a call of it is."""


FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("model", "outputs[].model"),
        "input": ("usage.prompt_tokens",),
        "tool_input": ("usage.connector_tokens",),
        "output": ("usage.completion_tokens",),
        "searches": ("usage.connectors.web_search",),
        "images": ("usage.connectors.image_generation",),
        "code_runs": ("usage.connectors.code_interpreter",),
        traits.TOTAL: ("usage.total_tokens",),
    }
)
"""Where an answer tells what was used."""


def read(document: object) -> Reading:
    """Read a conversation's answer. Never raises."""
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    outputs = document.get("outputs")
    for output in outputs if isinstance(outputs, list) and not model else ():
        model = model or short(object_of(output).get("model"), MODEL_CHARACTERS_MAX)
    return read_usage(document.get("usage"), model)


def read_usage(raw: object, model: str) -> Reading:
    """Read a usage object. Never raises."""
    if not isinstance(raw, dict):
        return openai_usage.read({"model": model}, raw)
    brought = count_of(raw.get("connector_tokens") or 0)
    if brought is None or brought > COUNT_MAX:
        return Reading({}, model, "bad_usage")
    total = count_of(raw.get("total_tokens") or 0) or 0
    reading = openai_usage.read({"model": model}, {**raw, "total_tokens": max(total - brought, 0)})
    if reading.problem is not None:
        return reading
    usage = dict(reading.usage)
    if brought:
        usage["tool_input"] = usage.get("tool_input", 0) + brought
    for name, n in _calls(raw).items():
        kind = next((kind for word, kind in _FEES if word in name.lower()), "")
        if kind:
            usage[kind] = usage.get(kind, 0) + n
    return Reading({k: usage[k] for k in KINDS if usage.get(k)}, model, mismatch=reading.mismatch)


def _calls(raw: JsonObject) -> dict[str, int]:
    found = object_of(raw.get("connectors"))
    return {str(name): n for name, value in found.items() if (n := count_of(value))}


class ConversationMeter(EventMeter):
    """The last event, `conversation.response.done`, carries the usage."""

    def take(self, event: JsonObject, name: bytes) -> None:
        kind = event.get("type") or name.decode("ascii", "replace")
        self._model = self._model or short(event.get("model"), MODEL_CHARACTERS_MAX)
        match kind:
            case "message.output.delta":
                content = event.get("content")
                for part in content if isinstance(content, list) else (content,):
                    self._take_part(part)
            case "function.call.delta":
                self._add(event.get("name"))
                self._add(event.get("arguments"))
            case "conversation.response.done":
                self._reading = read_usage(event.get("usage"), self._model)
            case "conversation.response.error":
                self._failed = True
            case str() if kind.startswith(("tool.execution", "agent.handoff")):
                self._hidden = True

    def _take_part(self, part: object) -> None:
        if not isinstance(part, dict):
            self._add(part)
            return
        if part.get("type") == "thinking":
            self._hidden = True
        self._add(part.get("text"))
