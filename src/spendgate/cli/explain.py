"""`spendgate explain`: what would happen to one request, and why; nothing is sent or reserved."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spendgate.cli.find_ledger import LedgerLocation, find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger
from spendgate.errors import ConfigurationError, RequestError

if TYPE_CHECKING:
    from spendgate.budget.ratios import Ratios
    from spendgate.exchange.snapshot import Snapshot
    from spendgate.identity.identity import Identity
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.views.bounds import BoundsNow
    from spendgate.views.explain import Standing


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--policy", "policy", multiple=True, type=click.Path(path_type=Path), help="LLMBudget file or folder."
)
@click.option("--team", required=True, help="Who asks.")
@click.option("--app", default="", help="The app that asks.")
@click.option("--user", default="", help="The person who asks.")
@click.option("--run", "run", default="", help="The run (x-llm-run).")
@click.option("--require-model", default="", metavar="M", help="As the header X-Require-Model.")
@click.option(
    "--spent", default=None, metavar="USD", help="What the team has spent this month.  [default: 0]"
)
@click.option("--live", is_flag=True, help="Take what is spent and held from the ledger, for every bound.")
@click.option("--path", "path", default="", help="The request's path; guessed from the body by default.")
@click.option(
    "--prices", multiple=True, type=click.Path(path_type=Path), help="Prices on top of the built-in."
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@ledger_options
def command(
    policy: tuple[Path, ...],
    team: str,
    app: str,
    user: str,
    run: str,
    require_model: str,
    spent: str | None,
    live: bool,
    path: str,
    prices: tuple[Path, ...],
    config: Path | None,
    output: str,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """Explain what the gateway would do with the request on standard input.

    With --live also how every bound of the team stands in the ledger now: settled, held, limit, what is left, and
    which of them refuses. Standard input may then be empty. The policy is the one in force, unless --policy.

    \b
    Example:
      spendgate explain --policy budgets.yaml --team ml-team --app chatbot --spent 7990 < request.json
      spendgate explain --live --team ml-team < /dev/null
    """
    from spendgate.identity.identity import UNATTRIBUTED, Identity
    from spendgate.views.explain import Standing

    if live and spent is not None:
        raise click.UsageError("--live and --spent exclude each other: the ledger knows what is spent")
    now_ms = time.time_ns() // 1_000_000
    identity = Identity(team, app or UNATTRIBUTED, user, run)
    body = b"" if live and sys.stdin.isatty() else sys.stdin.buffer.read()
    if not live:
        snapshot = _snapshot(policy, prices, config)
        standing = Standing({"month": _spent(spent)})
        found = _explained(snapshot, identity, body, path, require_model, standing, now_ms)
    else:
        where = find_ledger(redis_url, data_dir)
        snapshot = _snapshot(policy, prices, config, where)
        found, now, ratios, now_ms = _live(snapshot, where, identity, app)
        if body.strip():
            standing = Standing(now.settled, now.held, ratios, now.last_settled)
            found |= _explained(snapshot, identity, body, path, require_model, standing, now_ms)
    if output == "json":
        print(json.dumps(found, indent=1))
        return
    if "decision" in found:
        _show(found)
    if live:
        _show_live(found["live"])


def _snapshot(
    policy: tuple[Path, ...],
    prices: tuple[Path, ...],
    config: Path | None,
    found: LedgerLocation | None = None,
) -> Snapshot:
    from spendgate.cli.policy_at_hand import policy_at_hand
    from spendgate.gateway.process.reload import Sources
    from spendgate.settings.config import load_config

    snapshot = Sources(policy, prices, load_config(config, os.environ)).load()
    if found is None or policy:
        return snapshot
    in_force = policy_at_hand(found)
    if in_force is None:
        raise ConfigurationError("no policy found: give --policy PATH")
    return replace(snapshot, policy=in_force)


def _spent(spent: str | None) -> int:
    from spendgate.money import usd_to_nano

    try:
        nanousd = usd_to_nano(spent or "0")
    except ValueError as e:
        raise click.UsageError(f"--spent: {e}") from e
    if nanousd < 0:
        raise click.UsageError("--spent: an amount cannot be negative")
    return nanousd


def _explained(
    snapshot: Snapshot,
    identity: Identity,
    body: bytes,
    path: str,
    require_model: str,
    standing: Standing,
    now_ms: int,
) -> dict[str, Any]:
    from spendgate.views.explain import explain

    try:
        return explain(snapshot, identity, body, path, require_model, standing, now_ms)
    except RequestError as e:
        raise ConfigurationError(f"the request on standard input: {e}") from e


def _live(
    snapshot: Snapshot, where: LedgerLocation, identity: Identity, app: str
) -> tuple[dict[str, Any], BoundsNow, dict[str, Ratios], int]:
    """How every bound stands, as data; the same as numbers; what learned holds rest on; the ledger's time."""
    from spendgate.ledger.redis.ratios import read_ratios
    from spendgate.months import utc
    from spendgate.views.bounds import read_bounds

    team, now_ms = identity.team, time.time_ns() // 1_000_000

    async def read(ledger: RedisLedger) -> tuple[BoundsNow, dict[str, Ratios]]:
        now = await read_bounds(ledger, snapshot, team, app, identity.run, now_ms, 0, identity.user)
        return now, await read_ratios(ledger, team, identity.app)

    found, ratios = asyncio.run(with_ledger(where.redis_url, read))
    live = {
        "at": utc(found.at_ms).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "team": team,
        "app": app or None,
        "open_holds": found.open_holds,
        "bounds": list(found.rows),
        "verdict": found.verdict,
    }
    return {"live": live}, found, ratios, found.at_ms


def _show(found: dict[str, Any]) -> None:
    print(f"dialect    {found['dialect']}")
    print(f"tokens     {found['input_tokens']} input, estimated for at most {found['input_tokens_bound']}")
    print(f"output     at most {found['output_cap']} tokens")
    print(f"requested  {found['model_requested']}")
    for n, c in enumerate(found["candidates"], 1):
        window = ""
        if c["from_usd"] is not None or c["below_usd"] is not None:
            window = (
                f"  while used, with this request, is {c['from_usd'] or '0.00'} to {c['below_usd'] or '∞'}"
            )
        print(f"candidate  {n}. {c['model']}  ${c['estimate_usd']}  {c['reason']}{window}")
        if c["samples"] is not None:
            known = f"{c['samples']} answers seen, {c['samples_needed']} needed"
            print(f"             holds ${c['holds_usd']} (learned: {known})")
        for b in c["bounds"]:
            limit = "counted only"
            if "unit" in b:
                limit = f"{b['limit']} {b['unit']}"
            elif b["limit_usd"] is not None:
                limit = f"${b['limit_usd']} (at most ${b['ceiling_usd']})"
            print(f"             {b['scope']}: {limit}")
    print(f"decision   {found['decision']}: {found['reason']}")
    if found["model"]:
        print(f"model      {found['model']}")
    for key in ("kept_because", "message"):
        if found.get(key):
            print(f"{key:<10} {found[key]}")


def _show_live(live: dict[str, Any]) -> None:
    from spendgate.views.bounds import in_words

    print(f"now        {live['at']}: {live['open_holds']} requests in flight")
    for b in live["bounds"]:
        settled, held, committed = (in_words(b, w) for w in ("settled", "held", "committed"))
        numbers = f"{settled} settled + {held} held = {committed}"
        if b["limit_usd"] is None and b.get("limit") is None:
            print(f"  {b['scope']}: {numbers}, counted only")
            continue
        state = "REFUSES" if b["refuses"] else f"{in_words(b, 'left')} left"
        limit, ceiling = in_words(b, "limit"), in_words(b, "ceiling")
        print(f"  {b['scope']}: {numbers} of {limit} (at most {ceiling}): {state}")
    print(f"verdict    {live['verdict']}")
