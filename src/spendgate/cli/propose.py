"""`spendgate propose`: a budget change as a branch and pull request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.proposals.propose import ChangeRequest, Proposal

_F = TypeVar("_F", bound=Callable[..., Any])
_HELP = {"help_option_names": ["-h", "--help"]}


@click.group("propose", context_settings=_HELP)
def command() -> None:
    """Propose a budget change: an edit of the policy as branch, commit and pull request.

    The policy's repository is copied afresh, so that no work tree is touched. GITHUB_TOKEN or GITLAB_TOKEN
    opens the pull request; without a forge the branch is pushed by plain git.

    \b
    Example:
      spendgate propose raise --team payments --usd 500 --until 2026-12-15 --reason "Black Friday load"
    """


def _shared(function: _F) -> _F:
    for option in reversed(
        (
            click.option("--team", required=True, help="Whose budget."),
            click.option("--reason", required=True, help="Why, in one line; it stands in the request."),
            click.option("--asked-by", default="", help="Who asks, as the approvers know them."),
            click.option(
                "--repo",
                default=".",
                show_default=True,
                envvar="SPENDGATE_POLICY_REPO",
                help="The policy's git repository: a folder or a URL.",
            ),
            click.option("--base", default="", help="The branch to change; default: the remote's own."),
            click.option(
                "--path",
                "path",
                default="",
                envvar="SPENDGATE_POLICY_PATH",
                help="Folder or file of the policy in the repository.",
            ),
            click.option(
                "--forge",
                type=click.Choice(["auto", "github", "gitlab", "none"]),
                default="auto",
                show_default=True,
                envvar="SPENDGATE_FORGE",
                help="Where the request is opened; auto: by the remote's host.",
            ),
            click.option(
                "--log",
                "logs",
                multiple=True,
                type=click.Path(path_type=Path),
                help="Usage log to try the change on; what it means for the team becomes a comment.",
            ),
            click.option(
                "--redis",
                "redis_url",
                envvar=["REDIS_URL", "SPENDGATE_REDIS"],
                help="With --log: the ledger that knows the month's counters.  [env: REDIS_URL]",
            ),
            click.option(
                "--data-dir",
                default=".spendgate",
                show_default=True,
                envvar="SPENDGATE_DATA_DIR",
                type=click.Path(path_type=Path),
                help="With --log: data dir of a running `spendgate up`.",
            ),
            click.option("--dry-run", is_flag=True, help="Print the change; push and open nothing."),
            click.option(
                "-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True
            ),
        )
    ):
        function = option(function)
    return function


@command.command("raise", context_settings=_HELP)
@click.option("--usd", required=True, help="USD added to the month's budget while the raise lasts.")
@click.option("--until", required=True, help="Its end: a date (that UTC day included) or an RFC 3339 time.")
@_shared
def raise_command(usd: str, until: str, **given: Any) -> None:
    """A temporary raise that ends by itself.

    \b
    Example:
      spendgate propose raise --team payments --usd 500 --until 2026-12-15 \\
        --reason "Black Friday load" --log .spendgate/usage.jsonl
    """
    from datetime import UTC, datetime

    from spendgate.proposals.propose import parse_until

    try:
        end = parse_until(until, datetime.now(UTC))
    except ValueError as e:
        raise click.UsageError(f"--until: {e}") from e
    _run(_amount(usd), end, given)


@command.command("budget", context_settings=_HELP)
@click.option("--usd", required=True, help="The new monthlyBudgetUSD.")
@_shared
def budget_command(usd: str, **given: Any) -> None:
    """Another monthly budget, for good.

    \b
    Example: spendgate propose budget --team payments --usd 9000 --reason "two more apps since October"
    """
    _run(_amount(usd), None, given)


@command.command("check", context_settings=_HELP)
@click.option("--before", required=True, type=click.Path(path_type=Path), help="The policy as it is.")
@click.option("--after", required=True, type=click.Path(path_type=Path), help="The policy as proposed.")
@click.option(
    "--approvers", type=click.Path(path_type=Path), default="approvers.yaml", show_default=True,
    help="Who may approve what. Take it from the base branch.",
)  # fmt: skip
@click.option("--approved-by", "approved_by", multiple=True, help="Who approved the request.")
@click.option("--member", "members", multiple=True, metavar="GROUP=NAME", help="A member of a group.")
def check_command(
    before: Path, after: Path, approvers: Path, approved_by: tuple[str, ...], members: tuple[str, ...]
) -> None:
    """Has every raise between two states of the policy the approval that its amount needs? For CI.

    Exit 1 while one is missing. A budget that is removed, or that no longer refuses, counts as a raise by all
    of it.

    \b
    Example:
      git worktree add ../base origin/main
      spendgate propose check --before ../base/budgets --after budgets \\
        --approvers ../base/approvers.yaml --approved-by dana
    """
    from spendgate.budget.load import load_policy
    from spendgate.errors import ConfigurationError, SpendgateError
    from spendgate.money import usd_cell
    from spendgate.proposals.approvers import growths, missing, parse_approvers

    groups: dict[str, set[str]] = {}
    for pair in members:
        group, sign, name = pair.partition("=")
        if not sign or not group or not name:
            raise click.UsageError(f"--member: write GROUP=NAME, found {pair!r}")
        groups.setdefault(group, set()).add(name)
    try:
        rules = parse_approvers(approvers.read_text("utf-8"), str(approvers))
    except OSError as e:
        raise ConfigurationError(f"{approvers}: cannot be read: {e.strerror}; name it by --approvers") from e
    found = growths(load_policy([before]), load_policy([after]), rules, time.time_ns() // 1_000_000)
    lacking = missing(found, set(approved_by), groups)
    for g in found:
        state = "needs" if g in lacking else "approved;"
        names = " or ".join(g.who) or "an approver that no line of the file names"
        click.echo(f"{g.team}: {g.what} ({usd_cell(g.amount_nanousd, '$')}): {state} {names}")
    if not found:
        click.echo("no budget grows")
    if lacking:
        raise SpendgateError(f"{len(lacking)} of {len(found)} raises lack approval")


def _amount(text: str) -> Decimal:
    from spendgate.proposals.propose import parse_usd

    try:
        return parse_usd(text)
    except ValueError as e:
        raise click.UsageError(f"--usd: {e}") from e


def _run(usd: Decimal, until: datetime | None, given: dict[str, Any]) -> None:
    from spendgate.proposals.comment import commenter
    from spendgate.proposals.forges import reach
    from spendgate.proposals.propose import ChangeRequest, propose

    wish = ChangeRequest(given["team"], usd, given["reason"], until, given["asked_by"])
    remote, forge = reach(
        given["repo"], given["base"], given["forge"], os.environ, reads_only=given["dry_run"]
    )
    comment = None
    if given["logs"]:
        settled = _settled(given["redis_url"], given["data_dir"])
        comment = commenter(given["logs"], settled, time.time_ns() // 1_000_000)
    made = propose(wish, remote, forge, path=given["path"], comment=comment, dry_run=given["dry_run"])
    _show(made, wish, given["output"])


def _settled(redis_url: str | None, data_dir: Path) -> Callable[[str, str], tuple[int | None, int | None]]:
    """What the ledger at hand has settled of a team's month and of the one before; None, and it is said, where there
    is none."""
    import asyncio

    from spendgate.cli.find_ledger import find_ledger
    from spendgate.cli.ledger import with_ledger
    from spendgate.errors import ConfigurationError, LedgerUnavailable
    from spendgate.months import month_last_ms, previous_month

    async def read(ledger: RedisLedger, team: str, month: str) -> tuple[int, int | None]:
        ((settled, _),) = await ledger.balances([team], month)
        (last,) = await ledger.months_settled([team], previous_month(month_last_ms(month)))
        return settled, last

    def ask(team: str, month: str) -> tuple[int | None, int | None]:
        try:
            url = find_ledger(redis_url, data_dir).redis_url
            return asyncio.run(with_ledger(url, lambda x: read(x, team, month)))
        except (ConfigurationError, LedgerUnavailable) as e:
            click.echo(f"spendgate propose: the comment knows the log alone: {e}", err=True)
            return None, None

    return ask


def _show(made: Proposal, wish: ChangeRequest, output: str) -> None:
    if output == "json":
        import json

        request = made.pull_request
        document = {
            "team": wish.team,
            "branch": made.branch,
            "base": made.base,
            "file": made.file,
            "commit": made.commit,
            "title": made.title,
            "approvers": list(made.approvers),
            "pushed": made.pushed,
            "existed": made.existed,
            "pull_request": None if request is None else {"url": request.url, "number": request.number},
            "warnings": list(made.warnings),
            "diff": made.diff,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.echo(made.diff, nl=False)
    click.echo()
    click.echo(f"{made.title}")
    click.echo(f"approval   {' or '.join(made.approvers) or 'no approvers are named for this amount'}")
    if made.comment:
        click.echo()
        click.echo(made.comment)
    if not made.pushed:
        click.echo("dry run: nothing was pushed")
        return
    click.echo(f"branch     {made.branch}{' (was there already)' if made.existed else ''}")
    if made.pull_request is not None:
        was = " (was open already)" if made.pull_request.existed else ""
        click.echo(f"request    {made.pull_request.url}{was}")
    else:
        click.echo(f"request    none: open one from the branch {made.branch} into {made.base}")
    for warning in made.warnings:
        click.echo(f"spendgate propose: {warning}", err=True)
