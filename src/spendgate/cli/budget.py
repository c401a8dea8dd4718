"""`spendgate budget`: what the caller has left, asked of the gateway; a table, JSON, or one line for a prompt."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import click

from spendgate.errors import SpendgateError

TIMEOUT_S = 5.0


@click.command("budget", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url", default="http://127.0.0.1:10000", show_default=True, envvar="SPENDGATE_URL",
    help="The gateway, as in your SDK's base URL; without its /v1.",
)  # fmt: skip
@click.option("--team", default="", help="Ask as this team (header x-llm-team).")
@click.option("--app", default="", help="Ask as this app (x-llm-app).")
@click.option("--user", default="", help="Ask as this person (x-llm-user).")
@click.option("--key", default="", envvar="SPENDGATE_KEY", help="Ask with this API key.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send this header; repeatable."
)
@click.option("--model", default="", metavar="M", help="Also how many output tokens of this model that buys.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "line"]), default="table", show_default=True
)
def command(
    url: str,
    team: str,
    app: str,
    user: str,
    key: str,
    headers: tuple[str, ...],
    model: str,
    output: str,
) -> None:
    """What you have left: of the month and of every bound that your requests meet.

    The gateway answers for the identity that it would give your requests, and for no other.

    \b
    Example: spendgate budget --team ml-team --app chatbot --model gpt-4o
    In a prompt or status line: spendgate budget --key "$LLM_KEY" -o line
    """
    sent = {"x-llm-team": team, "x-llm-app": app, "x-llm-user": user}
    sent["authorization"] = f"Bearer {key}" if key else ""
    found = _ask(url, {k: v for k, v in sent.items() if v} | dict(map(_header, headers)), model)
    if output == "json":
        print(json.dumps(found, indent=1))
    elif output == "line":
        print(_line(found))
    else:
        _table(found)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header {text!r}: write NAME: VALUE")
    return name.strip().lower(), value.strip()


def _ask(url: str, headers: dict[str, str], model: str) -> dict[str, Any]:
    import httpx

    place = url.rstrip("/").removesuffix("/v1") + "/spendgate/v1/budget"
    try:
        answer = httpx.get(
            place, headers=headers, params={"model": model} if model else None, timeout=TIMEOUT_S
        )
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise SpendgateError(
            f"{url}: {problem or type(problem).__name__}; give the gateway's --url"
        ) from problem
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SpendgateError(
            f"{place}: status {answer.status_code}, and no JSON; is this a spendgate gateway?"
        )
    if answer.status_code == 200 and "settled_usd" in found:
        return found
    error = found.get("error")
    said = error.get("message") if isinstance(error, dict) else None
    raise SpendgateError(f"{place}: status {answer.status_code}: {said or 'not a spendgate gateway'}")


def _usd(text: str) -> str:
    return f"${Decimal(text):,.2f}"


def _bounds(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(name, row) of all that has a limit in USD, the month first."""
    rows: list[tuple[str, dict[str, Any]]] = []
    if found["limit_usd"] is not None:
        month = {"used": found["settled_usd"], "held": found["held_usd"], "max": found["limit_usd"]}
        rows.append(("month", month | {"remaining": found["remaining_usd"], "resets_at": found["resets_at"]}))
    for row in found["limits"]:
        name = row["window"] if row["per"] == "team" else f"{row['per']} {row['value']}"
        rows.append((name, row))
    return rows


def _line(found: dict[str, Any]) -> str:
    """The tightest bound in a few words: `$3.11 of $25.00 left (month), $0.40 held`."""
    rows = [(name, row) for name, row in _bounds(found) if row.get("unit", "usd") == "usd"]
    if not rows:
        return f"{found['team']}: {_usd(found['settled_usd'])} used, no budget"
    name, row = min(rows, key=lambda r: Decimal(r[1]["remaining"]))
    text = f"{_usd(row['remaining'])} of {_usd(row['max'])} left ({name})"
    if Decimal(row["held"]):
        text += f", {_usd(row['held'])} held"
    tokens = found.get("model", {}).get("affordable_output_tokens")
    return text if tokens is None else f"{text}, {tokens:,} tokens"


def _table(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['team']} / {found['app']}, {found['month']}")
    for column in ("bound", "used", "held", "limit", "left"):
        table.add_column(column, justify="left" if column == "bound" else "right", overflow="fold")
    table.add_column("resets")
    for name, row in _bounds(found):
        amounts = [
            _usd(row[k]) if row.get("unit", "usd") == "usd" else row[k]
            for k in ("used", "held", "max", "remaining")
        ]
        table.add_row(name, *amounts, row["resets_at"] or "never")
    if found["limit_usd"] is None:
        table.add_row(
            "month", _usd(found["settled_usd"]), _usd(found["held_usd"]), "none", "", found["resets_at"]
        )
    console = Console()
    console.print(table)
    if "model" in found:
        tokens = found["model"]["affordable_output_tokens"]
        buys = (
            "nothing bounds its output" if tokens is None else f"{tokens:,} tokens of output are affordable"
        )
        console.print(f"{found['model']['name']}: {buys}")
