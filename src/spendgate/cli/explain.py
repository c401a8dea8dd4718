"""`spendgate explain`: what would happen to one request, and why; nothing is sent or reserved."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from spendgate.errors import ConfigurationError, RequestError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--policy", "policy", multiple=True, type=click.Path(path_type=Path), help="LLMBudget file or folder."
)
@click.option("--team", required=True, help="Who asks.")
@click.option("--app", default="", help="The app that asks.")
@click.option("--run", "run", default="", help="The run (x-llm-run).")
@click.option("--require-model", default="", metavar="M", help="As the header X-Require-Model.")
@click.option("--spent", default="0", metavar="USD", help="What the team has spent this month.")
@click.option("--path", "path", default="", help="The request's path; guessed from the body by default.")
@click.option(
    "--prices", multiple=True, type=click.Path(path_type=Path), help="Prices on top of the built-in."
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    policy: tuple[Path, ...],
    team: str,
    app: str,
    run: str,
    require_model: str,
    spent: str,
    path: str,
    prices: tuple[Path, ...],
    config: Path | None,
    output: str,
) -> None:
    """Explain what the gateway would do with the request on standard input.

    \b
    Example:
      spendgate explain --policy budgets.yaml --team ml-team --app chatbot --spent 7990 < request.json
    """
    from spendgate.gateway.config import load_config
    from spendgate.gateway.explain import explain
    from spendgate.gateway.identity import UNATTRIBUTED, Identity
    from spendgate.gateway.reload import Sources
    from spendgate.money import usd_to_nano

    try:
        spent_nanousd = usd_to_nano(spent)
    except ValueError as e:
        raise click.UsageError(f"--spent: {e}") from e
    if spent_nanousd < 0:
        raise click.UsageError("--spent: an amount can not be negative")
    snapshot = Sources(policy, prices, load_config(config, os.environ)).load()
    identity = Identity(team, app or UNATTRIBUTED, "", run)
    body = sys.stdin.buffer.read()
    try:
        found = explain(
            snapshot, identity, body, path, require_model, spent_nanousd, time.time_ns() // 1_000_000
        )
    except RequestError as e:
        raise ConfigurationError(f"the request on standard input: {e}") from e
    if output == "json":
        print(json.dumps(found, indent=1))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    print(f"dialect    {found['dialect']}")
    print(f"tokens     {found['input_tokens']} input, estimated for at most {found['input_tokens_bound']}")
    print(f"output     at most {found['output_cap']} tokens")
    print(f"requested  {found['model_requested']}")
    for n, c in enumerate(found["candidates"], 1):
        window = ""
        if c["from_usd"] is not None or c["below_usd"] is not None:
            window = f"  while committed is {c['from_usd'] or '0.00'} to {c['below_usd'] or '∞'}"
        print(f"candidate  {n}. {c['model']}  ${c['estimate_usd']}  {c['reason']}{window}")
        for b in c["bounds"]:
            limit = (
                "counted only"
                if b["limit_usd"] is None
                else f"${b['limit_usd']} (at most ${b['ceiling_usd']})"
            )
            print(f"             {b['scope']}: {limit}")
    print(f"decision   {found['decision']}: {found['reason']}")
    if found["model"]:
        print(f"model      {found['model']}")
    for key in ("kept_because", "message"):
        if found.get(key):
            print(f"{key:<10} {found[key]}")
