"""The same request of one run again and again: what two requests have in common that are the same to a model. Pure.

An agent that goes on sends a conversation that grew, one that loops sends the same. What counts is the model and what
is said to it, not how: neither an output limit nor a request's own id makes another request of it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from spendgate.budget.policy import RepeatRule, TeamBudget
from spendgate.dialects.wire import json_read
from spendgate.identity.identity import Identity
from spendgate.ledger.exchanges import Repeats

SAID = frozenset(
    {
        "messages", "system", "input", "instructions", "prompt", "previous_response_id", "conversation",
        "contents", "systemInstruction", "system_instruction", "cachedContent", "cached_content", "inputs",
        "previous_interaction_id", "message", "chat_history", "preamble", "tool_results", "documents", "query",
        "texts", "images", "suffix", "context", "inputText", "requests", "method", "params",
    }
)  # fmt: skip
"""Where requests, of any dialect, carry what is said: OpenAI, Anthropic, Google, Cohere, Ollama, Bedrock, MCP."""
UNSAID = frozenset({"_meta", "cache_control"})
"""What a client may change from one try to the next without saying anything else."""


def asked(budget: TeamBudget | None, identity: Identity, model: str, body: bytes) -> Repeats | None:
    """What the ledger is to count for a request with this body; None where nobody asks, or it is of no run."""
    if budget is None or budget.repeats is None or not (identity.run and body):
        return None
    return of_run(budget.repeats, identity.app, identity.run, model, body, refuses=not budget.audit)


def of_run(rule: RepeatRule, app: str, run: str, model: str, body: bytes, *, refuses: bool) -> Repeats:
    """What the ledger is to count for one request. `refuses` False: it is told and not refused (audit)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (app, run, model):
        digest.update(part.encode("utf-8", "replace") + b"\0")
    digest.update(_said(body))
    return Repeats(digest.hexdigest(), rule.max, rule.window_ms, refuses)


def _said(body: bytes) -> bytes:
    """What a body says, in one form; all of it where it is not known where that stands."""
    try:
        document = json_read.parse(body)
    except json_read.NotJson:
        return body
    said = _of(document)
    return json_read.dumps_sorted(said) if said else body


def _of(document: Any) -> Any:
    if isinstance(document, list):
        return [_of(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {name: _plain(value) for name, value in document.items() if name in SAID}


def _plain(value: Any) -> Any:
    """A value without what says nothing."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items() if name not in UNSAID}
    return [_plain(item) for item in value] if isinstance(value, list) else value
