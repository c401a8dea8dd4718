"""From a wish to a pull request: edit the policy in a fresh copy, prove it, commit, push, ask for review."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from spendgate import money
from spendgate.budget.load import load_policy, parse_text
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import ConfigurationError, Fault
from spendgate.money import usd_to_nano
from spendgate.proposals.approvers import FILES, Approvers, parse_approvers
from spendgate.proposals.edit import Increase, add_increase, has_team, set_monthly, until_text, usd_text
from spendgate.proposals.forges import Forge, PullRequest, inert
from spendgate.proposals.repository import BranchExists, Checkout, Remote, checkout
from spendgate.values import dataclass

USD_MAX = Decimal(9_000_000)
REASON_MAX = 500

Comment = Callable[[TeamBudget, TeamBudget], str]
"""What the change means for the team, as Markdown; gets its budget before and after."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What somebody asks for. With `until`, `usd` is added to the month's budget for that long; without, it is
    the new monthly budget. `asked_by` is whoever it is that asked, as they are known there."""

    team: str
    usd: Decimal
    reason: str
    until: datetime | None = None
    asked_by: str = ""

    def __post_init__(self) -> None:
        if not self.team:
            raise ConfigurationError("name the team by --team")
        if not self.reason.strip():
            raise ConfigurationError("give a reason: whoever approves will want to know")
        if len(self.reason) > REASON_MAX or any(ord(c) < 32 for c in self.reason):
            raise ConfigurationError(f"the reason is one line of at most {REASON_MAX} characters")
        if not self.usd.is_finite() or not 0 <= self.usd <= USD_MAX or (self.until and self.usd == 0):
            raise ConfigurationError(f"an amount is more than 0 and at most {USD_MAX} USD, found {self.usd}")

    @property
    def branch(self) -> str:
        """The same wish has the same branch, so that asking twice changes nothing."""
        what = [self.team, usd_text(self.usd), until_text(self.until) if self.until else "", self.reason]
        digest = hashlib.sha256("\n".join(what).encode()).hexdigest()[:10]
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.team.lower()).strip("-")[:40]
        return f"spendgate/{'raise' if self.until else 'budget'}-{safe or 'team'}-{digest}"

    @property
    def title(self) -> str:
        """The subject of commit and pull request."""
        if self.until is None:
            return f"Set the LLM budget of {self.team} to {_money(self.usd)} a month"
        return f"Raise the LLM budget of {self.team} by {_money(self.usd)} until {_day(self.until)}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was made. `pull_request` None: plain git, only the branch was pushed (or, dry, nothing)."""

    branch: str
    base: str
    file: str
    commit: str
    title: str
    body: str
    diff: str
    approvers: tuple[str, ...]
    comment: str = ""
    pushed: bool = False
    existed: bool = False
    pull_request: PullRequest | None = None
    warnings: tuple[str, ...] = field(default=())


def parse_usd(text: str) -> Decimal:
    """Read an amount as people write it: 500, $1,250.50. Raises ValueError."""
    try:
        return Decimal(text.strip().removeprefix("$").replace(",", "").replace("_", ""))
    except InvalidOperation as e:
        raise ValueError(f"not an amount of USD: {text!r}; write for example 500") from e


def parse_until(text: str, now: datetime) -> datetime:
    """Read the end of a raise: a date (its whole UTC day is included) or an RFC 3339 time. Raises ValueError."""
    try:
        if len(text) == 10:
            until = datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
        else:
            until = datetime.fromisoformat(text)
    except ValueError as e:
        raise ValueError(f"not a date: {text!r}; write 2026-12-15 or 2026-12-15T18:00:00Z") from e
    if until.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it with Z or an offset")
    if until <= now:
        raise ValueError(f"{text!r} is past; a raise ends in the future")
    return until


def propose(
    wish: ChangeRequest,
    remote: Remote,
    forge: Forge | None,
    *,
    path: str = "",
    comment: Comment | None = None,
    dry_run: bool = False,
    author: str = "",
) -> Proposal:
    """Make the branch, the commit and the pull request. `path` is the policy's folder or file in the repository.

    A proposal that the policy refuses (`spendgate validate`) is not made. Raises ConfigurationError, GitError
    or ForgeError."""
    with checkout(remote) as copy:
        file = _file_of(copy, path, wish.team)
        name = str(file.relative_to(copy.folder.resolve()))
        old = file.read_bytes().decode("utf-8-sig")
        new = _edited(old, wish, name)
        before = load_policy([file]) if comment is not None else Policy()
        file.write_bytes(new.encode())
        after = load_policy([file])
        approvers = _approvers(copy).who(wish.team, _growth(wish, old, name, after))
        told = before.budgets.get(wish.team), after.budgets.get(wish.team)
        said = comment(told[0], told[1]) if comment is not None and told[0] and told[1] else ""
        made = Proposal(
            branch=wish.branch,
            base=copy.base,
            file=name,
            commit="",
            title=wish.title,
            body=_body(wish, name, approvers),
            diff=_diff(old, new, name),
            approvers=approvers,
            comment=said,
        )
        if dry_run:
            return made
        return _publish(made, copy, wish, forge, author)


def _publish(
    made: Proposal, copy: Checkout, wish: ChangeRequest, forge: Forge | None, author: str
) -> Proposal:
    from dataclasses import replace

    commit = copy.commit(made.branch, f"{made.title}\n\n{wish.reason}\n", author)
    existed = False
    try:
        copy.push(made.branch)
    except BranchExists:
        existed = True  # asked for before; the pull request may still be missing
    request = None
    if forge is not None:
        comments = [made.comment] if made.comment else []
        request = forge.open(made.branch, made.base, made.title, made.body, comments, made.approvers)
    return replace(
        made,
        commit=commit,
        pushed=True,
        existed=existed,
        pull_request=request,
        warnings=request.warnings if request is not None else (),
    )


def _file_of(copy: Checkout, path: str, team: str) -> Path:
    files = copy.policy_files(path)
    found = [f for f in files if has_team(f.read_bytes().decode("utf-8-sig", "replace"), team)]
    where = path or "the repository"
    if not found:
        raise ConfigurationError(f"no LLMBudget of team {team} in {where} ({len(files)} YAML files read)")
    if len(found) > 1:
        names = ", ".join(str(f.relative_to(copy.folder.resolve())) for f in found)
        raise ConfigurationError(f"team {team} has a budget in {names}; name one of them by --path")
    return found[0]


def _edited(old: str, wish: ChangeRequest, name: str) -> str:
    if wish.until is None:
        return set_monthly(old, wish.team, wish.usd, name)
    return add_increase(old, wish.team, Increase(wish.usd, wish.until, wish.reason), name)


def _growth(wish: ChangeRequest, old: str, name: str, after: Policy) -> int:
    if wish.until is not None:
        return usd_to_nano(wish.usd)
    faults: list[Fault] = []
    before = next(
        (p.document.spec.monthly_budget_usd for p in parse_text(old, name, faults)
         if p.document.spec.team == wish.team),
        Decimal(0),
    )  # fmt: skip
    budget = after.budget(wish.team)
    return max(0, (budget.monthly_nanousd if budget else 0) - usd_to_nano(before))


def _approvers(copy: Checkout) -> Approvers:
    for name in FILES:
        file = copy.folder / name
        if file.is_file():
            return parse_approvers(file.read_text("utf-8"), name)
    return Approvers()


def _body(wish: ChangeRequest, name: str, approvers: Sequence[str]) -> str:
    lines = [wish.title + ".", "", f"**Reason:** {inert(wish.reason)}"]
    if wish.asked_by:
        lines += ["", f"**Asked for by:** {inert(wish.asked_by)}"]
    if wish.until is not None:
        lines += ["", f"It ends by itself at {until_text(wish.until)}; nothing has to be taken back."]
    if approvers:
        names = ", ".join(f"@{a}" for a in approvers)
        lines += ["", f"**Approval needed of one of:** {names}"]
    else:
        lines += ["", "No approvers are named for this amount (`approvers.yaml`)."]
    lines += ["", f"Changes `{name}`. In force within seconds of its being applied."]
    return "\n".join(lines) + "\n"


def _diff(old: str, new: str, name: str) -> str:
    import difflib

    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _money(usd: Decimal) -> str:
    return money.usd_text(usd_to_nano(usd), 2)


def _day(until: datetime) -> str:
    """The last day of the raise where it ends at midnight, else the time."""
    at = until.astimezone(UTC)
    if at.time() == at.min.time():
        return f"{at - timedelta(days=1):%Y-%m-%d} (UTC, inclusive)"
    return until_text(until)
