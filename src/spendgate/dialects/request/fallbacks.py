"""Models that a request itself lets answer in the stead of the one it asks for. Pure.

| member | who reads it | source |
|---|---|---|
| `models` | OpenRouter and those who copy it: tried in order, whatever the error | model fallbacks guide |
| `route: "fallback"` | OpenRouter, without a list: it chooses | its schema of routes |
| `fallbacks` | Anthropic: names with caps of their own, or `"default"`; OpenRouter on `/v1/messages`; LiteLLM: names, \
requests, or lists by model | server-side fallback; client-side fallbacks |
| `context_window_fallbacks`, `content_policy_fallbacks` | LiteLLM, lists by model | reliability |
| `fallback_models`, `fallback_model`, `fallback` | other gateways | |
| `config.targets[].override_params.model` | Portkey | config object |
| `plugins[].allowed_models`, `.models`, `.model` | OpenRouter's auto router and fusion | its guides |
| `preset`, `@preset/` in the model's name | OpenRouter: models that are stored there | presets |
| `model`: a list, or names with commas between them | LiteLLM: all of them are asked at once, and each is billed | \
batch completions |

A provider that may choose by itself (`default`, `route`, `preset`, `openrouter/auto`) may answer with a model of no
list: a name that no price table has stands for it, and is held for as one (the dearest).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, NO_MODEL, model_of, positive, short
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.errors import RequestError

KEYS = (
    "models", "fallbacks", "fallback_models", "fallback_model", "fallback", "context_window_fallbacks",
    "content_policy_fallbacks", "default_fallbacks",
)  # fmt: skip
MODELS_MAX = 64
"""More in one request are not believed to be read: a larger list counts as one of any model."""
ANY_MODEL = "*"
"""Stands for a model that the provider chooses; no price table has it."""
_ROUTER = re.compile(
    r"^(openrouter/)?(auto|auto-.*|pareto.*|bodybuilder|fusion)$|(^|/)model-router(-.*)?$|(default-)?prompt-router/|@preset/"
)
"""Names that stand for a choice of the provider: OpenRouter's and Azure's routers, Bedrock's prompt routers."""
_SWITCHED_OFF = frozenset({"", "off", "none", "false", "disabled"})
_ROUTES = ("fallback", "auto")
_MEMBERS = frozenset({*KEYS, "config", "plugins", "preset", "route"})
"""Where such models may stand; most requests have none of it."""


def read(document: JsonObject, model: str = "", any_model: str = ANY_MODEL) -> tuple[str, ...]:
    """The models that may answer besides `model`, each once, in the order of the request; one that is asked several
    times at once again for each time. `any_model` stands for one that the provider chooses. Raises RequestError."""
    several = _several(document.get("model"))
    if len(several) > MODELS_MAX:
        raise RequestError(f"model: names {len(several)} models; {MODELS_MAX} at most are asked at once")
    if _MEMBERS.isdisjoint(document) and not several and not is_router(model):
        return ()
    found: dict[str, None] = dict.fromkeys(several)
    for key in KEYS:
        _gather(found, document.get(key))
    _gather_targets(found, document.get("config"))
    for plugin in list_of(document.get("plugins")):
        for key in ("allowed_models", "models", "model"):
            _gather(found, object_of(plugin).get(key))
    if document.get("route") in _ROUTES and not found:
        found[ANY_MODEL] = None
    if len(found) > MODELS_MAX:
        return (*list(found)[:MODELS_MAX], ANY_MODEL)
    if is_router(model) or document.get("preset"):
        found[ANY_MODEL] = None
    found.pop(model, None)
    again = (name for i, name in enumerate(several) if name in several[:i])
    return (*(any_model if name == ANY_MODEL else name for name in found), *again)


@lru_cache(maxsize=1024)
def is_router(model: str) -> bool:
    """Does the name stand for a choice of the provider?"""
    return _ROUTER.search(model) is not None


def is_routed(document: JsonObject, model: str) -> bool:
    """Does the request say how a router is to choose the provider of its model (OpenRouter's `provider`, and the
    variants that choose the fastest)?"""
    return bool(object_of(document.get("provider"))) or is_variant(model)


def is_variant(model: str) -> bool:
    """Does the name itself say how its provider is chosen?"""
    return model.endswith((":nitro", ":exacto"))


def caps(document: JsonObject) -> int:
    """The largest output cap that an entry of `fallbacks` sets for itself; 0 without one."""
    entries = (object_of(entry) for entry in list_of(document.get("fallbacks")))
    return max((positive(e.get(key)) or 0 for e in entries for key in _CAPS), default=0)


_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def asked_at_once(document: JsonObject) -> int:
    """How many models answer at once, each of them billed; 0 where one does."""
    several = len(_several(document.get("model")))
    return several if several > 1 else 0


def asked_model(document: JsonObject) -> str:
    """The body's model, the first of those between commas; where it names none but a list, the first of that; else as
    `model_of`."""
    model = model_of(document)
    if "," in model and (several := _several(model)):
        return several[0]
    if model != NO_MODEL:
        return model
    named = (m for m in list_of(document.get("models")) if isinstance(m, str) and m)
    return short(next(named, NO_MODEL), MODEL_CHARACTERS_MAX)


def _several(model: object) -> tuple[str, ...]:
    names = model.split(",") if isinstance(model, str) and "," in model else list_of(model)
    return tuple(short(n.strip(), MODEL_CHARACTERS_MAX) for n in names if isinstance(n, str) and n.strip())


def _gather(found: dict[str, None], value: Any) -> None:
    """Names, entries with a `model`, and lists by model (LiteLLM's `[{"a": ["b"]}]`), at any depth."""
    stack = [value]
    while stack and len(found) <= MODELS_MAX:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            own = [item[key] for key in ("model", "model_name", "name") if item.get(key)]
            stack.extend(own or [v for v in reversed(item.values()) if isinstance(v, str | list)])
        elif isinstance(item, str) and item.lower() not in _SWITCHED_OFF:
            name = short(item, MODEL_CHARACTERS_MAX)
            found[ANY_MODEL if name in ("default", "auto") else name] = None
        elif item is True:
            found[ANY_MODEL] = None


def _gather_targets(found: dict[str, None], config: Any) -> None:
    for target in list_of(object_of(config).get("targets")):
        for key in ("override_params", "overrideParams"):
            _gather(found, object_of(object_of(target).get(key)).get("model"))
