"""Usage as OpenAI's Responses API reports it: the chat API's rules under other names.

`input_tokens` includes cached and cache-written tokens, `output_tokens` includes reasoning, and
`total_tokens` is their sum (it held in all 615 recorded answers). Web searches are in no count: they are the
answer's `web_search_call` items whose action is a search; opening a page is free (OpenAI's price list). Searches
of files are its `file_search_call` items. Images that a tool made are another model's bill, by size and quality.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.openai.media_usage import read_images
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.wire.json_read import JsonObject, count_of, list_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import Usage

IMAGE_MODEL = "gpt-image-1"
"""What draws for the image generation tool where the answer names no other."""
IMAGE_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1_056, "1024x1536": 1_584, "1536x1024": 1_568},
    "high": {"1024x1024": 4_160, "1024x1536": 6_240, "1536x1024": 6_208},
}
"""Quality → size → tokens of an image (image generation guide, "Cost and latency")."""
IMAGE_TOKENS_MAX = 6_240

_OWN_WORDS = {chat: own for own, chat in openai_usage.RESPONSES_WORDS.items()}


def _own(path: str) -> str:
    """A path of the chat API's as this API has it."""
    return ".".join(_OWN_WORDS.get(step, step) for step in path.split("."))


_ELSEWHERE = ("x_groq", "choices", "usage_breakdown")
FIELDS: UsageFields = MappingProxyType(
    {
        **{
            kind: own
            for kind, paths in openai_usage.FIELDS.items()
            if (own := tuple(_own(p) for p in paths if not p.startswith(_ELSEWHERE)))
        },
        "searches": ("tool_usage.web_search.num_requests", "output[type=web_search_call]"),
        "preview_searches": ("tools[type=web_search_preview]",),
        "file_searches": ("output[type=file_search_call]",),
        "code_runs": (
            "output[type=code_interpreter_call]",
            "output[type=shell_call].environment.container_id",
        ),
        "output_image": ("tool_usage.image_gen.output_tokens", "output[type=image_generation_call]"),
    }
)
"""Where an answer tells what was used."""

_DEFERRED = ("queued", "in_progress")
"""The status of an answer that is made in the background."""


def read(document: JsonObject) -> Reading:
    """Read a whole response. Never raises."""
    raw = document.get("usage")
    if isinstance(raw, dict):
        raw = {openai_usage.RESPONSES_WORDS.get(key, key): value for key, value in raw.items()}
    elif raw is None and document.get("status") in _DEFERRED:
        return Reading({}, short(document.get("model"), MODEL_CHARACTERS_MAX), "deferred")
    reading = openai_usage.read(document, raw)
    if reading.problem is not None:
        return reading
    output = document.get("output")
    items = [item for item in list_of(output) if isinstance(item, dict)]
    usage = dict(reading.usage)
    if searches := _searches(document, items):
        usage["searches"] = searches
        if any(
            str(object_of(t).get("type")).startswith(SEARCH_PREVIEW) for t in list_of(document.get("tools"))
        ):
            usage["preview_searches"] = searches
    if files := sum(item.get("type") == "file_search_call" for item in items):
        usage["file_searches"] = files
    if sessions := _sessions(document, items):
        usage["code_runs"] = sessions
    drawing = _drawing(document, items)
    if not drawing:
        return replace(reading, usage=usage)
    whole = usage | {kind: usage.get(kind, 0) + n for kind, n in drawing.items()}
    parts = ((reading.model, usage), (_image_model(document.get("tools")), drawing))
    return replace(reading, usage=whole, parts=parts)


SEARCH_PREVIEW = "web_search_preview"
"""The tool whose searches cost more with models that do not reason (price list, "Built-in tools")."""


CONTAINER_GIGABYTES_MAX = 64
_GIGABYTES = {"": 1, "1g": 1, "4g": 4, "16g": 16}


def gigabytes_of(tool: object, named: int = CONTAINER_GIGABYTES_MAX) -> int:
    """The memory of the container that a code interpreter or a shell runs in: 1, 4, 16 or 64 GB; the most where it is a
    size that is not known, and `named` where only its id is told. 0 for any other tool, and for a shell of the client's
    own."""
    declared = object_of(tool)
    if declared.get("type") not in ("code_interpreter", "shell"):
        return 0
    place = declared.get("container") or declared.get("environment")
    where = object_of(place)
    if isinstance(place, str) or where.get("container_id") or where.get("type") == "container_reference":
        return named
    if where.get("type") == "local":
        return 0
    return _GIGABYTES.get(str(where.get("memory_limit") or ""), CONTAINER_GIGABYTES_MAX)


NAMED_GIGABYTES = 1
"""What is charged of a container that only its id names: an earlier call made it and was charged by its size, so it is
there already, and at most a session of it begins anew; the usual size is taken for that. 64 GB are held for it."""
_RUNNERS = {"code_interpreter_call": "code_interpreter", "shell_call": "shell"}
"""Items of an answer → the tools that ran."""


def _sessions(document: JsonObject, items: list[JsonObject]) -> int:
    """The sessions of code interpreters and shells, by the gigabyte: each container that ran something ("Containers" of
    the price list: 0.03 USD a gigabyte). A call of a code interpreter that names none had one of its own."""
    sizes: dict[str, int] = {}
    for at, item in enumerate(items):
        tool = _RUNNERS.get(str(item.get("type")))
        place = object_of(item.get("environment"))
        container = item.get("container_id") or place.get("container_id")
        if tool is None or (tool == "shell" and not container and place.get("type") in (None, "local")):
            continue
        declared = [t for t in list_of(document.get("tools")) if object_of(t).get("type") == tool]
        size = max((gigabytes_of(t, NAMED_GIGABYTES) for t in declared), default=0) or 1
        name = short(container, MODEL_CHARACTERS_MAX) or f"call {at}"
        sizes[name] = max(size, sizes.get(name, 0))
    return sum(sizes.values())


def _drawing(document: JsonObject, items: list[JsonObject]) -> Usage:
    """What the image generation tool used: as `tool_usage` tells it, else by the images' size and quality."""
    told = object_of(object_of(document.get("tool_usage")).get("image_gen"))
    usage = read_images({"usage": told}).usage if told else {}
    usage = {kind: n for kind, n in usage.items() if kind != "requests"}
    if usage:
        return usage
    drawn = sum(_image_tokens(item) for item in items if item.get("type") == "image_generation_call")
    return {"output_image": drawn} if drawn else {}


def _searches(document: JsonObject, items: list[JsonObject]) -> int:
    """The searches billed: as `tool_usage` tells them, else the calls seen in the output."""
    told = count_of(object_of(object_of(document.get("tool_usage")).get("web_search")).get("num_requests"))
    return max(told or 0, sum(map(_is_search, items)))


def _image_model(tools: Any) -> str:
    """The model that draws for the image generation tool."""
    for tool in list_of(tools):
        if isinstance(tool, dict) and tool.get("type") == "image_generation":
            return short(tool.get("model"), MODEL_CHARACTERS_MAX) or IMAGE_MODEL
    return IMAGE_MODEL


def _image_tokens(item: JsonObject) -> int:
    """The tokens of an image that a tool made, which no usage counts; the most where it is not known which."""
    if item.get("status") == "failed":
        return 0
    known = IMAGE_TOKENS.get(str(item.get("quality")), {})
    return known.get(str(item.get("size")), IMAGE_TOKENS_MAX)


def _is_search(item: JsonObject) -> bool:
    if item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return not isinstance(action, dict) or action.get("type", "search") == "search"
