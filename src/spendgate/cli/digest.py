"""`spendgate report digest`: the last week or month in words, as it is sent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from spendgate.cli.find_ledger import find_ledger, ledger_options
from spendgate.cli.ledger import with_ledger
from spendgate.cli.policy_at_hand import policy_at_hand

if TYPE_CHECKING:
    from spendgate.alerts.digest import Every
    from spendgate.ledger.redis.ledger import RedisLedger


@click.command("digest", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--every", type=click.Choice(["weekly", "monthly"]), default="weekly", show_default=True,
    help="The last whole week (Monday to Sunday, UTC) or month.",
)  # fmt: skip
@click.option("--team", help="This team's, as its owners get it; default: that of all teams.")
@click.option(
    "--log", type=click.Path(path_type=Path), metavar="FILE", help="Usage log that knows the users."
)
@click.option("--policy", multiple=True, metavar="PATH", help="Budgets; default: those in force.")
@ledger_options
def digest_command(
    every: str,
    team: str | None,
    log: Path | None,
    policy: tuple[str, ...],
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """What was spent, where it leads, who moved most, what was refused and saved, and what to do.

    It comes by itself where SPENDGATE_DIGESTS is set for `up` or the controller.

    \b
    Example:
      spendgate report digest
      spendgate report digest --team payments --every monthly --log .spendgate/usage.jsonl
    """
    from spendgate.alerts.digest import Sums, all_digest, last_month, last_week, team_digest
    from spendgate.alerts.reports import gather, users_of
    from spendgate.budget.policy import Policy
    from spendgate.months import utc
    from spendgate.views.carries import bounded_at

    now_ms = time.time_ns() // 1_000_000
    period = last_week(now_ms) if cast("Every", every) == "weekly" else last_month(utc(now_ms))
    found = find_ledger(redis_url, data_dir)
    budgets = policy_at_hand(found, policy) or Policy()

    async def read(ledger: RedisLedger) -> str:
        known = sorted({*await ledger.teams(), *budgets.teams})
        teams = known if team is None else [team]
        sums, outlooks = await gather(ledger, teams, period, now_ms)
        own = {t: b for t in teams if (b := budgets.budget(t)) is not None}
        mine = await bounded_at(ledger, own, now_ms)
        if team is None:
            return all_digest(sums, period, mine, outlooks)
        of = sums.get(team, Sums())
        if log is not None:
            of.users = users_of(log, period).get(team, {})
        return team_digest(team, of, period, mine.get(team), outlooks[team])

    click.echo(asyncio.run(with_ledger(found.redis_url, read)))
