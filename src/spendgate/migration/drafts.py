"""What another gateway limits, and how an LLMBudget says it.

A limit that no field of an LLMBudget can hold is named in a note, and so is every number that had to be worked out.
Nothing is left out in silence. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import field
from decimal import Decimal
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from spendgate.budget.checks import contradictions
from spendgate.budget.load import parse_documents
from spendgate.budget.model import API_VERSION, KIND, LIMITS_MAX, MEMBERS_MAX, USD_MAX, BudgetSpec
from spendgate.values import dataclass

Json = dict[str, Any]
Unit = Literal["usd", "tokens", "requests"]
Window = Literal["hour", "day", "week", "month", "total"]
FIELDS: dict[Window, str] = {
    "month": "monthlyBudgetUSD",
    "day": "dailyBudgetUSD",
    "hour": "maxUSDPerHour",
}
"""The fields that bound a team's USD, by window."""
IN_A_MONTH: dict[Window, int] = {"hour": 744, "day": 31, "week": 6, "total": 1}
"""How many windows a calendar month touches at most: 31 days, and six weeks where it begins on a week's last day."""
NAME_MAX = 63


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that the documents do not say as the source did. `kind`: `no equal` (left out), `otherwise` (said in
    another way), `told` (nothing is lost, but somebody should know)."""

    kind: Literal["no equal", "otherwise", "told"]
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `max` of `unit` in `window`, for the values of `per` that `match` names (empty: for each one). `per` is
    `team`, `app`, `user`, `model`, `provider` or `tag:NAME`; `where` names it in the source."""

    per: str
    max: Decimal
    window: Window
    unit: Unit = "usd"
    match: str = ""
    where: str = ""
    instead: bool = False
    """Does it hold in place of the one for each value? Else both hold."""

    def __str__(self) -> str:
        amount = f"${number_text(self.max)}" if self.unit == "usd" else f"{number_text(self.max)} {self.unit}"
        span = "ever" if self.window == "total" else f"a {self.window}"
        return f"{amount} {span} for {self.per}{f' {self.match}' if self.match else ''}"


@dataclass(slots=True)
class Draft:
    """A team's budget in the making; with `members`, that of a group of teams. `warn_usd`: spend in the month's window
    at which somebody is told; `blocked`: nothing is let through."""

    team: str
    where: str
    limits: list[Limit] = field(default_factory=list)
    warn_usd: Decimal | None = None
    blocked: bool = False
    closed_apps: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)


def number_text(value: Decimal) -> str:
    """A plain decimal number without needless zeros: 500, 12.5."""
    return format(value.normalize(), "f")


class _Dumper(yaml.SafeDumper):
    """Exact decimals as plain numbers, lists set in."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    tag = "int" if value == value.to_integral_value() else "float"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{tag}", number_text(value))


_Dumper.add_representer(Decimal, _decimal)


def documents(drafts: Sequence[Draft], notes: list[Note]) -> str:
    """The drafts as YAML, each an LLMBudget; what they cannot say is added to `notes`. A draft that bounds nothing
    makes no document. Raises ConfigurationError where the source's own values are no budget (a name that is too
    long)."""
    names: set[str] = set()
    out = []
    for draft in drafts:
        spec = spec_of(draft, notes)
        if spec is None:
            text = f"team {draft.team!r} has no limit that an LLMBudget says, and gets none (setting `unbudgeted`)"
            notes.append(Note("told", draft.where, text))
        else:
            metadata = {"name": _name(draft.team, names)}
            out.append({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
    written = "---\n".join(
        yaml.dump(d, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110) for d in out
    )
    if written:
        parse_documents(written, "what would be written")
    return written


def spec_of(draft: Draft, notes: list[Note]) -> Json | None:
    """The spec of one draft, None where nothing of it bounds anything."""
    spec: Json = {"team": draft.team}
    if draft.members:
        spec["members"] = draft.members[:MEMBERS_MAX]
        if len(draft.members) > MEMBERS_MAX:
            text = f"a group has at most {MEMBERS_MAX} members, this has {len(draft.members)}: write globs"
            notes.append(Note("no equal", draft.where, text))
    bare = len(spec)
    if draft.blocked:
        spec["monthlyBudgetUSD"] = 0
        notes.append(Note("otherwise", draft.where, "is blocked: a budget of 0, which admits nothing"))
        return spec
    models, apps, rest = _placed(spec, draft)
    bounds = [r for r in draft.limits if r.per == "team" and r.unit == "usd" and not r.match]
    if draft.warn_usd is not None:
        _warn(spec, draft, bounds, notes)
    if models:
        spec["modelLimits"] = [{"modelPattern": m, "maxMonthlyUSD": usd} for m, usd in models.items()]
    if apps:
        spec["apps"] = [{"name": a, "maxMonthlyUSD": usd} for a, usd in apps.items()]
    _limits(spec, rest, draft, notes)
    if len(spec) == bare and not bounds:
        return None
    if "monthlyBudgetUSD" not in spec:
        _month(spec, bounds, draft, notes)
    for name in FIELDS.values():
        if spec.get(name, 0) > USD_MAX:
            notes.append(
                Note("otherwise", draft.where, f"{name} {spec[name]} is above the most, {USD_MAX:,}")
            )
            spec[name] = USD_MAX
    _without_idle(spec, draft, notes)
    front = ("team", "members", "monthlyBudgetUSD")
    return {k: spec[k] for k in front if k in spec} | {k: v for k, v in spec.items() if k not in front}


def _placed(spec: Json, draft: Draft) -> tuple[dict[str, Decimal], dict[str, Decimal], list[Limit]]:
    """The bounds that are fields of their own go into the spec; those of models and of apps, and the other limits, are
    handed back."""
    models: dict[str, Decimal] = {}
    apps: dict[str, Decimal] = dict.fromkeys(draft.closed_apps, Decimal(0))
    rest: list[Limit] = []
    for limit in draft.limits:
        usd = limit.unit == "usd"
        if usd and limit.per == "team" and not limit.match and limit.window in FIELDS:
            name = FIELDS[limit.window]
            spec[name] = min(spec.get(name, limit.max), limit.max)
        elif usd and limit.window == "month" and limit.per == "model" and limit.match:
            models[limit.match] = min(models.get(limit.match, limit.max), limit.max)
        elif usd and limit.window == "month" and limit.per == "app" and limit.match:
            apps[limit.match] = min(apps.get(limit.match, limit.max), limit.max)
        else:
            rest.append(limit)
    return models, apps, rest


def _without_idle(spec: Json, draft: Draft, notes: list[Note]) -> None:
    """Leave out limits that another bound always reaches first: an LLMBudget refuses to have them."""
    while spec.get("limits"):
        try:
            found = contradictions(BudgetSpec.model_validate(spec))
        except ValidationError:
            return  # told with its field where the documents are read
        idle = next((f for f in found if f.loc[0] == "limits" and isinstance(f.loc[1], int)), None)
        if idle is None:
            return
        rule = spec["limits"].pop(idle.loc[1])
        shown = ", ".join(f"{k} {v}" for k, v in rule.items())
        notes.append(Note("otherwise", draft.where, f"a limit ({shown}) {idle.problem}: left out"))
    spec.pop("limits", None)


def _limits(spec: Json, rest: Sequence[Limit], draft: Draft, notes: list[Note]) -> None:
    """What no field of its own bounds, as `limits`. A limit for some values that holds instead of the one for each is
    an override of it."""
    lowest: dict[tuple[str, str, Unit, Window], Limit] = {}
    for limit in sorted(rest, key=lambda r: r.max, reverse=True):
        lowest[limit.per, limit.match, limit.unit, limit.window] = limit  # the tighter of two is the bound
    rest = [r for r in rest if lowest[r.per, r.match, r.unit, r.window] is r]
    out: list[Json] = []
    general = {(r.per, r.unit, r.window): r for r in rest if not r.match}
    overrides: dict[tuple[str, Unit, Window], list[Json]] = {}
    for limit in rest:
        key = (limit.per, limit.unit, limit.window)
        if draft.members and limit.per == "team":
            notes.append(
                Note("no equal", limit.where, f"{limit}: a group is bounded by months, days and hours")
            )
        elif limit.match and limit.instead and key in general:
            overrides.setdefault(key, []).append({"match": limit.match, "max": limit.max})
        else:
            out.append(_rule(limit))
    for rule in out:
        found = overrides.get((rule["per"], rule.get("unit", "usd"), rule.get("window", "month")))
        if found and "match" not in rule:
            rule["overrides"] = found
    if len(out) > LIMITS_MAX:
        text = f"a budget has at most {LIMITS_MAX} limits; the last {len(out) - LIMITS_MAX} are left out: "
        notes.append(Note("no equal", draft.where, text + "; ".join(map(str, out[LIMITS_MAX:]))))
    if out:
        spec["limits"] = out[:LIMITS_MAX]


def _rule(limit: Limit) -> Json:
    per = "team" if limit.per == "model" and limit.match else limit.per  # a team's limit matches models
    rule: Json = {"per": per}
    if limit.match:
        rule["match"] = limit.match
    if limit.unit != "usd":
        rule["unit"] = limit.unit
    return rule | {"max": limit.max, "window": limit.window}


def _month(spec: Json, bounds: Iterable[Limit], draft: Draft, notes: list[Note]) -> None:
    """`monthlyBudgetUSD`, which every budget has, where the source gave none: so much that the other bounds bind
    first."""
    known = [(limit.max * IN_A_MONTH[limit.window], limit) for limit in bounds]
    if not known:
        spec["monthlyBudgetUSD"] = USD_MAX
        text = f"no limit of its own: monthlyBudgetUSD is {USD_MAX:,}, the most there is; set what is meant"
    else:
        most, limit = min(known, key=lambda pair: pair[0])
        spec["monthlyBudgetUSD"] = min(most, Decimal(USD_MAX))
        times = IN_A_MONTH[limit.window]
        text = f"monthlyBudgetUSD is {times} times the limit of a {limit.window}: a month has no more of them"
        if limit.window == "total":
            text = "monthlyBudgetUSD is the limit for ever: a month can have no more"
    notes.append(Note("otherwise", draft.where, text))


def _warn(spec: Json, draft: Draft, bounds: Sequence[Limit], notes: list[Note]) -> None:
    """A soft limit: an alert at its share of the month's budget; alone, a budget that only alerts."""
    assert draft.warn_usd is not None
    month = spec.get("monthlyBudgetUSD")
    if month is None and bounds:
        text = f"a soft limit of ${number_text(draft.warn_usd)} beside {bounds[0]}: alerts are of a month's budget"
        notes.append(Note("no equal", draft.where, text))
        return
    if month is None:
        spec["monthlyBudgetUSD"] = draft.warn_usd
        spec["alertThresholds"] = [{"percent": 100, "action": "alert"}]
        notes.append(
            Note("told", draft.where, "a soft limit alone: the budget alerts at it and refuses nothing")
        )
        return
    share = draft.warn_usd * 100 / month if month else Decimal(0)
    percent = int(share.to_integral_value())
    if not 1 <= percent <= 1000:
        notes.append(
            Note("no equal", draft.where, f"a soft limit of ${number_text(draft.warn_usd)}: not 1 to 1000 %")
        )
        return
    if percent != share:
        notes.append(
            Note("otherwise", draft.where, f"the soft limit is {share:.2f} % of the budget: {percent} %")
        )
    spec["alertThresholds"] = [
        {"percent": percent, "action": "alert"},
        {"percent": 100, "action": "reject"},
    ]


def _name(team: str, taken: set[str]) -> str:
    """A name for Kubernetes that no other document of the same run has."""
    stem = re.sub(r"[^a-z0-9]+", "-", team.lower()).strip("-")[:NAME_MAX].strip("-") or "default"
    name, n = stem, 1
    while name in taken:
        n += 1
        name = f"{stem[: NAME_MAX - len(str(n)) - 1]}-{n}"
    taken.add(name)
    return name
