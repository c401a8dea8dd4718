"""What the demo plays on: a console that shows the usage log's lines, and SDK clients of teams and apps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anthropic
import openai
from demo_house import DemoFailure, House
from rich.console import Console
from rich.table import Table

MINI, LARGE = "gpt-4o-mini", "gpt-4o"
BRIEF = [{"role": "user", "content": "What is a budget?"}]


def expect(kept: bool, promise: str) -> None:
    """A promise of spendgate. Raises DemoFailure."""
    if not kept:
        raise DemoFailure(f"not kept: {promise}")


class Stage:
    """Sends and tells; what is sent in which order is the story's."""

    def __init__(self, house: House, console: Console) -> None:
        self.house = house
        self.console = console
        self.seen = 0
        self.step_number = 0

    # -- telling ------------------------------------------------------------------------------------------

    def step(self, title: str, text: str) -> None:
        """Begin a step."""
        self.step_number += 1
        self.console.print(f"\n[bold]{self.step_number}. {title}[/bold]")
        self.console.print(f"[dim]{text}[/dim]")

    def show(self, expected: int = 1) -> list[dict[str, Any]]:
        """Print and return what the usage log got since the last time, in the order of the reservations:
        each of the gateway's workers writes its own lines."""
        lines = sorted(self.house.usage(self.seen, expected), key=lambda line: str(line["time"]))
        self.seen += len(lines)
        ledger = self.house.ledger()
        shown = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
        for name in ("team/app", "asked for", "got", "why", "cost USD", "of the budget"):
            shown.add_column(name, justify="right" if name in ("cost USD", "of the budget") else "left")
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for line in lines:
            key = ("team", "app", "model_requested", "model", "reason", "outcome")
            groups.setdefault(tuple(str(line[k]) for k in key), []).append(line)
        for (team, app, asked, model, reason, outcome), same in groups.items():
            times = f" × {len(same)}" if len(same) > 1 else ""
            got = "[red]refused[/red]" if outcome == "refused" else model
            if outcome not in ("complete", "refused"):
                reason = f"{reason}, {outcome}"
            cost = sum(Decimal(line["cost_usd"]) for line in same)
            used = ledger[team]["utilization"]
            color = "green" if used < 0.8 else "yellow" if used < 1 else "red"
            shown.add_row(
                f"{team}/{app}", asked + times, got, reason, f"{cost}", f"[{color}]{used:.1%}[/{color}]"
            )
        self.console.print(shown)
        return lines

    def say(self, text: str) -> None:
        """One remark."""
        self.console.print(f"  → {text}", highlight=False)

    # -- sending ------------------------------------------------------------------------------------------

    def openai(self, team: str, app: str) -> openai.OpenAI:
        """The SDK as an app of the team would make it; nothing but the base URL and two headers differ."""
        return openai.OpenAI(
            base_url=f"{self.house.gateway}/v1",
            api_key="sk-demo",
            default_headers={"x-llm-team": team, "x-llm-app": app},
        )

    def anthropic(self, team: str, app: str) -> anthropic.Anthropic:
        """The same for Anthropic's SDK."""
        return anthropic.Anthropic(
            base_url=self.house.gateway,
            api_key="sk-ant-demo",
            default_headers={"x-llm-team": team, "x-llm-app": app},
        )

    def ask(
        self, client: openai.OpenAI, tokens: int, model: str = LARGE, text: str = "", **headers: str
    ) -> Any:
        """One chat completion with an answer of `tokens` tokens; the raw response with its headers."""
        extra = {"x-mock-output-tokens": str(tokens), **{k.replace("_", "-"): v for k, v in headers.items()}}
        messages: Any = [{"role": "user", "content": text}] if text else BRIEF
        raw = client.chat.completions.with_raw_response.create(
            model=model, max_tokens=tokens, messages=messages, extra_headers=extra
        )
        raw.parse()
        return raw

    def refused(self, error: openai.APIStatusError | anthropic.APIStatusError, body: object) -> None:
        """Tell a refusal as the app sees it."""
        kind = type(error)
        message = error_message(body)
        self.say(
            f"[red]{kind.__module__.split('.')[0]}.{kind.__name__}[/red] ({error.status_code}): {message}"
        )


def error_message(body: object) -> str:
    """The message of an error body of either API."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
