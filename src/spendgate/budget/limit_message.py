"""A limit of `limits` as data and in words: whose it is, how much of it is used, when it starts anew. Pure."""

from __future__ import annotations

from spendgate.budget.bounds import Bound
from spendgate.money import nano_to_usd, usd_text

_OF = {
    "user": "User {} of team {team}",
    "app": "App {} of team {team}",
    "run": "Run {} of team {team}",
    "model": "Team {team}",
    "provider": "Team {team}",
    "team": "Team {team}",
}
_WINDOWS = {
    "hour": "this hour",
    "day": "today",
    "week": "this week",
    "month": "this month",
    "quarter": "this quarter",
    "year": "this year",
    "total": "in all",
}


def amount(unit: str, n: int) -> str | int:
    """An amount as data: USD as an exact decimal, counts as they are."""
    return nano_to_usd(n) if unit == "usd" else n


def amount_text(unit: str, n: int) -> str:
    """An amount in a sentence."""
    return usd_text(n) if unit == "usd" else f"{n:,} {unit if n != 1 else unit[:-1]}"


def limit_row(bound: Bound, settled: int, held: int, resets: str | None) -> dict[str, object]:
    """A limit with what its counter has, as data."""
    subject = bound.subject
    assert subject is not None
    row: dict[str, object] = {
        "per": subject.per,
        "value": subject.value,
        "unit": bound.unit,
        "window": subject.window,
        "max": amount(bound.unit, bound.floor_nanousd),
        "used": amount(bound.unit, settled),
        "held": amount(bound.unit, held),
        "remaining": amount(bound.unit, max(0, bound.floor_nanousd - settled - held)),
        "resets_at": resets,
    }
    return row | ({"match": subject.match} if subject.match else {})


def limit_fact(bound: Bound, team: str, settled: int, held: int) -> str:
    """How much of a limit is used, without its end."""
    subject = bound.subject
    assert subject is not None
    named = subject.value or "without a name"
    if subject.per.startswith("tag:"):
        who = f"{subject.per.removeprefix('tag:').capitalize()} {named} of team {team}"
    else:
        who = _OF[subject.per].format(named, team=team)
    if bound.group:
        who = who.replace(f"team {team}", f"group {bound.group}").replace(
            f"Team {team}", f"Group {bound.group}"
        )
        if subject.per == "team":
            who = f"Team {team} of group {bound.group}"
    what = ""
    if subject.per in ("model", "provider"):
        what = f" for {named}"
    elif subject.per == "team" and subject.match:
        what = f" for {subject.match}"
    most = amount_text(bound.unit, bound.floor_nanousd)
    used = usd_text(settled) if bound.unit == "usd" else f"{settled:,}"
    fact = f"{who} has used {used} of {most}{what} {_WINDOWS[subject.window]}"
    if held:
        are = "is" if bound.unit == "usd" else "are"
        fact += f", and {amount_text(bound.unit, held)} {are} held for requests that are still running"
    return fact
