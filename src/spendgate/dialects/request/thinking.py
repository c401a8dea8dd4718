"""Does a request ask for reasoning, or switch it off? By every spelling that a provider documents. Pure.

Asking is taken from any spelling in any dialect: what one API does not know another one behind it may. Switched off
is only what the dialect's own API knows (`off`), since a provider may ignore what it does not know.
"""

from __future__ import annotations

from spendgate.dialects.wire.json_read import JsonObject, object_of

EFFORT, THINKING, BUDGET, THINK = "effort", "thinking", "budget", "think"
"""Ways of switching reasoning off: OpenAI's effort `none`, Anthropic's and Cohere's `thinking: {type: disabled}`,
Gemini's budget of 0, Ollama's `think: false`."""
_NESTED = ("additionalModelRequestFields", "extra_body", "google", "chat_template_kwargs")
_CONFIGS = ("generationConfig", "generation_config")
_BUDGETS = ("thinkingBudget", "thinking_budget", "token_budget", "budget_tokens", "max_tokens")


_WORDS = frozenset(
    {
        "reasoning_effort", "reasoning", "reasoning_config", "thinking", "think", "enable_thinking", "thinkingConfig",
        "thinking_config", "thinking_level", "include_reasoning", *_NESTED, *_CONFIGS,
    }
)  # fmt: skip
"""Where any of it may stand; most requests have none."""


def asked(document: JsonObject, off: str = "") -> bool | None:
    """True: it asks for reasoning; False: it switches it off, in the way `off`; None: it says nothing of it."""
    if _WORDS.isdisjoint(document):
        return None
    said = {_said(document, off)}
    for key in _NESTED:
        if key in document:
            inner = object_of(document[key])
            said |= {_said(inner, off), *(_said(object_of(inner.get(k)), off) for k in _NESTED if k in inner)}
    if True in said:
        return True
    return False if False in said else None


def _said(document: JsonObject, off: str) -> bool | None:
    found: bool | None = None
    if document.get("include_reasoning") is not None:  # whatever it says: shown or not, it may be billed
        return True
    for value in (
        document.get("reasoning_effort"),
        document.get("reasoning"),
        document.get("reasoning_config"),
    ):
        if value is None:
            continue
        effort = value.get("effort") if isinstance(value, dict) else value
        if effort == "none" or (isinstance(value, dict) and value.get("enabled") is False):
            found = False if off == EFFORT else found
        elif value not in ({}, False, ""):
            return True
    thinking = document.get("thinking")
    if thinking is not None:
        kind = thinking.get("type") if isinstance(thinking, dict) else thinking
        if kind in ("disabled", False):
            found = False if off == THINKING else found
        else:
            return True
    if (think := document.get("think")) is not None:
        if think is not False:
            return True
        found = False if off == THINK else found
    if document.get("enable_thinking") is True:
        return True
    return _gemini(document, off, found)


def _gemini(document: JsonObject, off: str, found: bool | None) -> bool | None:
    holders = [document, *(object_of(document[key]) for key in _CONFIGS if key in document)]
    for holder in holders:
        for key in ("thinkingConfig", "thinking_config"):
            config = object_of(holder.get(key))
            budgets = [config[k] for k in _BUDGETS if k in config]
            if config.get("thinkingLevel") or config.get("thinking_level") or any(b != 0 for b in budgets):
                return True
            if budgets:
                found = False if off == BUDGET else found
        if holder.get("thinking_level"):
            return True
    return found
