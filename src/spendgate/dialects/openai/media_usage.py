"""Usage of OpenAI's images, transcripts and speech. Each has its own form.

Images: `input_tokens` and `output_tokens` with details by text and image. Transcripts: `type: tokens` with the
details under `input_token_details` (singular), or `type: duration` with `seconds`; before that the `duration`
of a verbose answer. Mistral adds `prompt_audio_seconds`. Speech: tokens, the output all sound.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.response import told_cost
from spendgate.dialects.response.counts import BadUsage, believable, optional, seconds_of, tidy
from spendgate.dialects.response.told_cost import told_nanousd
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.dialects.wire.traits import MODEL, TOLD, TOTAL, UsageFields
from spendgate.usage import COUNT_MAX, Usage

_INPUT, _OUTPUT = ("usage.input_tokens",), ("usage.output_tokens",)
IMAGE_FIELDS: UsageFields = MappingProxyType(
    {
        MODEL: ("model",),
        "input": _INPUT,
        "cached_input": ("usage.input_tokens_details.cached_tokens",),
        "input_image": ("usage.input_tokens_details.image_tokens",),
        "cached_input_image": ("usage.input_tokens_details.cached_tokens_details.image_tokens",),
        "output_image": _OUTPUT,
        "output": ("usage.output_tokens_details.text_tokens", "usage.output_tokens_details.reasoning_tokens"),
        TOTAL: ("usage.total_tokens",),
        TOLD: told_cost.FIELDS,
    }
)
TRANSCRIPT_FIELDS: UsageFields = MappingProxyType(
    {
        MODEL: ("model",),
        "input": (*_INPUT, "usage.prompt_tokens"),
        "input_audio": ("usage.input_token_details.audio_tokens", "usage.input_tokens_details.audio_tokens"),
        "output": (*_OUTPUT, "usage.completion_tokens"),
        "seconds": ("usage.prompt_audio_seconds", "usage.seconds", "duration"),
        TOTAL: ("usage.total_tokens",),
        TOLD: told_cost.FIELDS,
    }
)
SPEECH_FIELDS: UsageFields = MappingProxyType(
    {
        MODEL: ("model",),
        "input": _INPUT,
        "output_audio": _OUTPUT,
        TOTAL: ("usage.total_tokens",),
        TOLD: told_cost.FIELDS,
    }
)
"""Where answers tell what was used."""


def read_images(document: object) -> Reading:
    """Read an answer with images. Never raises."""
    return _read(document, _images)


def read_transcript(document: object) -> Reading:
    """Read a transcript. Never raises."""
    return _read(document, _transcript)


def read_subtitles(body: bytes) -> Reading:
    """Read a transcript that is no JSON: subtitles (SRT, WebVTT) tell by their last time stamp how long the sound was;
    a plain text tells nothing. Never raises."""
    ends = [
        int(h or 0) * 3600 + int(m) * 60 + int(s) + (1 if int(ms) else 0)
        for h, m, s, ms in _STAMP.findall(body)
    ]
    if not ends:
        return Reading({}, problem="no_usage")
    return Reading({"seconds": min(max(ends), COUNT_MAX), "requests": 1})


_STAMP = re.compile(rb"-->[ \t]*(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[.,](\d{3})")
"""The end of a subtitle: `00:00:31,000 --> 00:01:00,000`."""


def read_speech(document: object) -> Reading:
    """Read the last event of spoken text. Never raises."""
    return _read(document, _speech)


def _read(document: object, kinds: Any) -> Reading:
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    raw = document.get("usage")
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, model, "bad_usage")
    try:
        usage, mismatch = kinds(document, raw or {})
    except BadUsage:
        return Reading({}, model, "bad_usage")
    told = told_nanousd(raw or {})
    if usage is None and told is None:
        return Reading({}, model, "no_usage")
    return Reading(tidy({**(usage or {}), "requests": 1}), model, mismatch=mismatch, told_nanousd=told)


def _images(document: JsonObject, raw: JsonObject) -> tuple[Usage | None, bool]:
    if "input_tokens" not in raw and "output_tokens" not in raw:
        return None, False
    inside, made = object_of(raw.get("input_tokens_details")), object_of(raw.get("output_tokens_details"))
    text = optional(made, "text_tokens") + optional(made, "reasoning_tokens")
    pictures = optional(inside, "image_tokens")
    drawn = optional(object_of(inside.get("cached_tokens_details")), "image_tokens")
    cached = max(optional(inside, "cached_tokens"), drawn)
    came = {
        "input_image": max(pictures - drawn, 0),
        "cached_input_image": drawn,
        # of what nobody says what it is, as much is text as can be: the least is saved by it
        "cached_input": min(cached - drawn, max(optional(raw, "input_tokens") - pictures, 0)),
    }
    return _sides(raw, came, "output_image", {"output": text})


def _transcript(document: JsonObject, raw: JsonObject) -> tuple[Usage | None, bool]:
    seconds = raw.get("seconds") if raw else document.get("duration")
    if raw.get("prompt_audio_seconds") is not None:
        seconds = raw["prompt_audio_seconds"]
    usage: Usage = {}
    mismatch = False
    if "input_tokens" in raw or "output_tokens" in raw:
        inside = object_of(raw.get("input_token_details")) or object_of(raw.get("input_tokens_details"))
        usage, mismatch = _sides(raw, {"input_audio": optional(inside, "audio_tokens")}, "output", {})
    elif "prompt_tokens" in raw:
        usage = {"input": optional(raw, "prompt_tokens"), "output": optional(raw, "completion_tokens")}
        heard = optional(raw, "total_tokens") - usage["input"] - usage["output"]
        if seconds is None and heard > 0:
            usage["input_audio"] = heard  # Mistral leaves the sound's tokens out of the prompt's
    if seconds is not None:
        usage["seconds"] = seconds_of(seconds)
    return usage or None, mismatch


def _speech(document: JsonObject, raw: JsonObject) -> tuple[Usage | None, bool]:
    if "input_tokens" not in raw and "output_tokens" not in raw:
        return None, False
    return _sides(raw, {}, "output_audio", {})


def _sides(raw: JsonObject, parts: Usage, plain_output: str, made: Usage) -> tuple[Usage, bool]:
    """Take the parts out of each side's total; what is beyond the totals is charged too, and flagged."""
    came, went = optional(raw, "input_tokens"), optional(raw, "output_tokens")
    total = optional(raw, "total_tokens") or came + went
    beyond = total - came - went
    parted, separate = sum(parts.values()), sum(made.values())
    usage = parts | {"input": max(came - parted, 0)} | made
    usage[plain_output] = max(went - separate, 0) + max(beyond, 0)
    return believable(usage), beyond != 0 or parted > came or separate > went
