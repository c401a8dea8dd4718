"""What the mock answers: how many tokens of which kind, and their texts. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from spendgate.mock.control import Control
from spendgate.tokens.count import count
from spendgate.values import dataclass

DEFAULT_OUTPUT_TOKENS = 20
FIRST = "The"
WORDS = (
    " budget", " is", " a", " bound", " and", " every", " token", " has", " its", " price",
    " so", " the", " team", " can", " see", " what", " it", " spent", " today", " before",
)  # fmt: skip
"""Each is one token of o200k_base, alone and joined."""

HUGE = 10**18


class BadRequest(ValueError):
    """The body is not what the API takes."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for. `cap` is its own limit of output tokens a choice, None without one."""

    model: str
    prompt_tokens: int
    cap: int | None
    stream: bool
    include_usage: bool = False
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """A planned answer. Tokens are of all choices together; `visible` is the length of each choice's text."""

    id: str
    created: int
    model: str
    visible: int
    reasoning: int
    cut: bool
    choices: int
    include_usage: bool
    prompt: dict[str, int]
    """The input side by kind, disjoint."""
    usage: str
    """How the usage is to be falsified, `` for not at all."""

    @property
    def prompt_tokens(self) -> int:
        """The input side together."""
        return sum(self.prompt.values())

    @property
    def output_tokens(self) -> int:
        """The output side together, reasoning included."""
        return self.choices * (self.visible + self.reasoning)

    def tokens(self, sent: int | None = None) -> dict[str, int]:
        """The invoice of this answer by kind, of `sent` visible tokens (None: all). Reasoning comes first,
        so it was made whatever was sent."""
        visible = self.choices * self.visible if sent is None else sent
        return {**self.prompt, "output": visible, "reasoning": self.choices * self.reasoning}


def plan(order: Order, control: Control, identity: str, created: int) -> Answer:
    """Decide the answer's length and the kinds of its prompt."""
    wished = DEFAULT_OUTPUT_TOKENS if control.output_tokens is None else control.output_tokens
    cap = order.cap if order.cap is not None else control.reasoning + wished
    reasoning = min(control.reasoning, cap)
    visible = min(wished, cap - reasoning)
    parts = {
        "cached_input": control.cached,
        "cache_write_5m": control.cache_write,
        "cache_write_1h": control.cache_write_1h,
        "input_audio": control.audio,
    }
    plain = max(0, order.prompt_tokens - sum(parts.values()))
    return Answer(
        id=identity,
        created=created,
        model=control.model or order.model,
        visible=visible,
        reasoning=reasoning,
        cut=reasoning + visible < control.reasoning + wished,
        choices=order.choices,
        include_usage=order.include_usage,
        prompt={"input": plain, **parts},
        usage=control.usage,
    )


def piece(i: int) -> str:
    """The i-th token's text."""
    return FIRST if i == 0 else WORDS[i % len(WORDS)]


def text(length: int) -> str:
    """A text of exactly so many tokens."""
    return "".join(map(piece, range(length)))


def falsify(usage: dict[str, Any], how: str) -> dict[str, Any] | None:
    """A usage object that no provider should send: every count negative, a string or huge; None for none."""
    if how == "none":
        return None
    if not how:
        return usage

    def bend(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: bend(v) for k, v in value.items()}
        return (
            {"negative": -value - 1, "string": f"{value}", "huge": HUGE}[how] if type(value) is int else value
        )

    bent: dict[str, Any] = bend(usage)
    return bent


def text_tokens(value: Any) -> int:
    """The tokens of a content: a string, or the texts of a list of parts; other parts as their JSON."""
    if isinstance(value, str):
        return count(value)
    if isinstance(value, list):
        return sum(
            text_tokens(part["text"]) if isinstance(part, dict) and "text" in part else json_tokens(part)
            for part in value
        )
    return json_tokens(value)


def json_tokens(value: Any) -> int:
    """The tokens of a value as compact JSON; none for None."""
    if value is None:
        return 0
    return count(orjson.dumps(value).decode())
