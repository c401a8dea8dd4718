"""A simulation as text: JSON, Markdown for a pull request's comment, rows for a table. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spendgate.finops.chargeback.render import table_rows
from spendgate.finops.simulation.simulate import Simulation, Tally
from spendgate.money import nano_to_usd, usd_cell
from spendgate.months import utc
from spendgate.values import dataclass

HEAD = ("team", "app", "requests", "logged USD", "simulated USD", "refused", "refused USD", "routed",
        "downgraded", "saved USD")  # fmt: skip
SWEEP_HEAD = ("requests", "to cheapModel", "share", "refused", "simulated USD", "saved USD", "saved")


@dataclass(frozen=True, slots=True)
class Context:
    """What was replayed: the files, how many lines the log itself had refused, and were prices given?"""

    policy: tuple[str, ...]
    logs: tuple[str, ...]
    refused_in_log: int = 0
    repriced: bool = False
    refused_estimate_nanousd: int = 0
    """What the requests that the log itself had refused would have held."""


def moment(at_ms: int) -> str:
    """`2026-11-24 06:00 UTC`."""
    return utc(at_ms).strftime("%Y-%m-%d %H:%M UTC") if at_ms else "-"


def percent(part: int, whole: int) -> str:
    """A share with one decimal."""
    tenths = (2000 * part + whole) // (2 * whole) if whole else 0
    sign = "-" if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10} %"


def tally_data(tally: Tally) -> dict[str, Any]:
    """A tally as plain data."""
    return {
        "requests": tally.requests,
        "logged_usd": nano_to_usd(tally.logged_nanousd),
        "simulated_usd": nano_to_usd(tally.simulated_nanousd),
        "refused": tally.refused,
        "refused_usd": nano_to_usd(tally.refused_nanousd),
        "routed": tally.routed,
        "downgraded": tally.downgraded,
        "saved_usd": nano_to_usd(tally.saved_nanousd),
    }


def to_json(out: Simulation, context: Context) -> str:
    """Indented JSON: totals, teams with their apps, reasons and moves."""
    teams = []
    for team, tally in out.teams.items():
        first = out.first_refused.get(team)
        teams.append(
            {
                "team": team,
                **tally_data(tally),
                "first_refused": utc(first).isoformat().replace("+00:00", "Z") if first else None,
                "refusals": {r: n for (t, r), n in sorted(out.refusals.items()) if t == team},
                "moves": [
                    {"from": asked, "to": sent, "requests": n}
                    for (t, asked, sent), n in out.moves.most_common()
                    if t == team
                ],
                "apps": [{"app": a, **tally_data(x)} for (t, a), x in sorted(out.apps.items()) if t == team],
            }
        )
    document = {
        "policy": list(context.policy),
        "logs": list(context.logs),
        "repriced": context.repriced,
        "refused_in_log": context.refused_in_log,
        "refused_in_log_estimate_usd": nano_to_usd(context.refused_estimate_nanousd),
        "logged_at_other_prices": out.other_prices,
        "total": tally_data(out.total),
        "teams": teams,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def row(team: str, app: str, tally: Tally) -> tuple[str, ...]:
    """One line of the table, in the order of `HEAD`."""
    return (
        team, app, f"{tally.requests:,}", usd_cell(tally.logged_nanousd),
        usd_cell(tally.simulated_nanousd), f"{tally.refused:,}", usd_cell(tally.refused_nanousd),
        f"{tally.routed:,}", f"{tally.downgraded:,}", usd_cell(tally.saved_nanousd),
    )  # fmt: skip


def rows(out: Simulation) -> list[tuple[str, ...]]:
    """Every app of every team, by name."""
    return [row(team, app, tally) for (team, app), tally in sorted(out.apps.items())]


def notes(out: Simulation, context: Context) -> list[str]:
    """What must be known to read the numbers."""
    found = [f"Logged {moment(out.first_ms)} to {moment(out.last_ms)}; counters start at zero there."]
    for team, at_ms in sorted(out.first_refused.items()):
        reasons = ", ".join(f"{r} {n:,}" for (t, r), n in sorted(out.refusals.items()) if t == team)
        found.append(f"Team {team}: first refused {moment(at_ms)} ({reasons}).")
    for (team, asked, sent), n in out.moves.most_common(10):
        found.append(f"Team {team}: {n:,} requests for {asked} go to {sent}.")
    if context.refused_in_log:
        held = nano_to_usd(context.refused_estimate_nanousd)
        found.append(
            f"{context.refused_in_log:,} requests that the log itself refused are left out: of them it has the "
            f"estimate alone, {held} USD together; `propose --log` weighs them."
        )
    if out.other_prices and not context.repriced:
        found.append(
            f"{out.other_prices:,} exchanges were logged at another price list than this one: what they "
            "save by moving contains the difference of the lists."
        )
    return found


def to_markdown(out: Simulation, context: Context) -> str:
    """For a pull request's comment: the outcome in one sentence, the table, what to know."""
    total = out.total
    saved = percent(total.saved_nanousd, total.logged_nanousd)
    text = (
        f"Of {total.requests:,} logged requests this policy refuses {total.refused:,} "
        f"({percent(total.refused, total.requests)}), routes {total.routed:,} and downgrades "
        f"{total.downgraded:,}. Spend goes from {usd_cell(total.logged_nanousd, '$')} to "
        f"{usd_cell(total.simulated_nanousd, '$')}: {usd_cell(total.saved_nanousd, '$')} ({saved}) by other "
        f"models, {usd_cell(total.refused_nanousd, '$')} by refusals."
    )
    lines = table_rows(HEAD, [*rows(out), row("**total**", "", total)], names=2)
    lines = [
        line.replace("| (unnamed) |", "|  |") if line.startswith("| **total**") else line for line in lines
    ]
    found = [f"- {note}" for note in notes(out, context)]
    return "\n".join(["## Budget simulation", "", text, "", *lines, "", *found, ""])


def sweep_row(tally: Tally) -> tuple[str, ...]:
    """One value of a sweep, in the order of `SWEEP_HEAD`."""
    return (
        f"{tally.requests:,}", f"{tally.simple:,}", percent(tally.simple, tally.requests), f"{tally.refused:,}",
        usd_cell(tally.simulated_nanousd), usd_cell(tally.saved_nanousd),
        percent(tally.saved_nanousd, tally.logged_nanousd),
    )  # fmt: skip


def sweep_json(field: str, outcomes: Mapping[int, Tally]) -> str:
    """A sweep as JSON: a list of `{field, value, …}`."""
    found = [
        {"field": field, "value": value, "to_cheap_model": t.simple, **tally_data(t)}
        for value, t in outcomes.items()
    ]
    return json.dumps(found, indent=2) + "\n"


def sweep_rows(outcomes: Mapping[int, Tally]) -> list[tuple[str, ...]]:
    """A sweep's lines: the value, then `SWEEP_HEAD`."""
    return [(f"{value:,}", *sweep_row(t)) for value, t in outcomes.items()]


def sweep_markdown(field: str, outcomes: Mapping[int, Tally]) -> str:
    """A sweep as a Markdown table."""
    head: Sequence[str] = (field, *SWEEP_HEAD)
    return "\n".join([*table_rows(head, sweep_rows(outcomes), names=0), ""])
