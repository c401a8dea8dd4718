"""What contradicts itself in `limits`, calendars and groups: of one document, and of several together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from spendgate.budget.calendar import is_zone
from spendgate.budget.model import GROUPS_MAX, BudgetSpec, Limit, LimitOverride
from spendgate.budget.patterns import ModelPattern, is_glob, is_team_glob, team_pattern
from spendgate.values import dataclass

Loc = tuple[str | int, ...]
Trouble = tuple[Loc, str, str]
"""Where in the spec, the problem, the remedy."""

_WITHIN = {
    "hour": ("day", "week", "month", "quarter", "year", "total"),
    "day": ("week", "month", "quarter", "year", "total"),
    "week": ("total",),
    "month": ("quarter", "year", "total"),
    "quarter": ("year", "total"),
    "year": ("total",),
    "total": (),
}
"""Windows that a window lies in whole."""
_MONTHS = {"hour": 1, "day": 2, "week": 2, "month": 2, "quarter": 4, "year": 13}
"""In so many of the budget's UTC months a window of another zone lies at the most."""


def limit_troubles(spec: BudgetSpec) -> Iterator[Trouble]:
    """Say what contradicts itself in one document."""
    yield from _calendar(spec)
    yield from _group(spec)
    for i, limit in enumerate(spec.limits):
        yield from _amounts(i, limit)
        yield from _overrides(i, limit)
        yield from _percentages(i, limit)
        yield from _never_binds(spec, i, limit)


def _calendar(spec: BudgetSpec) -> Iterator[Trouble]:
    if spec.time_zone is not None and not is_zone(spec.time_zone):
        yield (
            ("timeZone",),
            f"is {spec.time_zone!r}, which no time zone is called",
            "write it as Europe/Berlin or UTC",
        )
    if spec.time_zone is None:
        for name, given, what in (
            ("weekStartsOn", spec.week_starts_on, "a week"),
            ("yearStartsIn", spec.year_starts_in, "a year"),
        ):
            if given is not None:
                problem = f"says when {what} begins, but not in which zone"
                yield (
                    (name,),
                    problem,
                    "add timeZone, for example `timeZone: Europe/Berlin` or `timeZone: UTC`",
                )


def _group(spec: BudgetSpec) -> Iterator[Trouble]:
    if spec.members is None:
        return
    if is_team_glob(spec.team):
        yield ("team",), "is a pattern, but names a group", "give the group one name"
    for i, member in enumerate(spec.members):
        if member == spec.team:
            yield (
                ("members", i),
                f"is {member!r}, the group itself",
                "name teams, or give the group another name",
            )
        if member in spec.members[:i]:
            yield ("members", i), f"repeats members[{spec.members.index(member)}]", "remove one"


def _amounts(i: int, limit: Limit) -> Iterator[Trouble]:
    where: list[tuple[Loc, Decimal]] = [(("limits", i, "max"), limit.max)]
    where += [(("limits", i, "overrides", n, "max"), o.max) for n, o in enumerate(limit.overrides)]
    for loc, most in where:
        if limit.unit == "usd" and most > 9_000_000:
            yield loc, f"is {most}", "give at most 9000000 USD"
        if limit.unit != "usd" and most != int(most):
            yield loc, f"is {most} {limit.unit}", "give a whole number"


def _overrides(i: int, limit: Limit) -> Iterator[Trouble]:
    for n, override in enumerate(limit.overrides):
        loc: Loc = ("limits", i, "overrides", n, "match")
        for m, other in enumerate(limit.overrides[:n]):
            if _same_values(limit, override, other):
                problem = f"is {override.match!r}, as limits[{i}].overrides[{m}]: one value has two amounts"
                yield loc, problem, "keep one of the two"
                break
        if limit.match is None or limit.per == "team" or is_glob(override.match):
            continue
        if not ModelPattern.of(limit.match).matches(override.match):
            problem = f"is {override.match!r}, which limits[{i}].match {limit.match!r} leaves out"
            yield loc, f"{problem}: it can never bind", "widen match, or remove the override"


def _same_values(limit: Limit, one: LimitOverride, other: LimitOverride) -> bool:
    if limit.per == "model":
        return one.match.lower() == other.match.lower()
    return one.match == other.match


def _percentages(i: int, limit: Limit) -> Iterator[Trouble]:
    for n, t in enumerate(limit.thresholds):
        for m, other in enumerate(limit.thresholds[:n]):
            if (t.percent, t.notify_channel) == (other.percent, other.notify_channel):
                yield ("limits", i, "thresholds", n), f"repeats limits[{i}].thresholds[{m}]", "remove one"


def _never_binds(spec: BudgetSpec, i: int, limit: Limit) -> Iterator[Trouble]:
    """A limit that another bound of the document always reaches first."""
    loc: Loc = ("limits", i, "max")
    for n, other in enumerate(spec.limits):
        if n == i or (other.per, other.match, other.unit) != (limit.per, limit.match, limit.unit):
            continue
        if other.window == limit.window:
            if n < i:
                yield (
                    ("limits", i),
                    f"bounds the same as limits[{n}]: the higher can never bind",
                    "keep one of the two",
                )
                return
        elif other.window in _WITHIN[limit.window] and not other.overrides and _least(limit) > other.max:
            yield loc, (
                f"is {limit.max} a {limit.window}: it can never bind, since limits[{n}] admits {other.max} "
                f"{_a(other.window)}"
            ), "lower it, or raise the other"  # fmt: skip
            return
    most = _month_most(spec)
    if limit.unit != "usd" or limit.window == "total" or most is None:
        return
    months = 1 if limit.window == "month" and spec.time_zone in (None, "UTC") else _MONTHS[limit.window]
    if limit.window in ("hour", "day") and spec.time_zone in (None, "UTC"):
        months = 1
    if _least(limit) > most * months:
        problem = f"is {limit.max} USD {_a(limit.window)}: it can never bind, since monthlyBudgetUSD is reached first"
        yield loc, problem, f"give less than {most * months:f}, or remove the limit"


def _least(limit: Limit) -> Decimal:
    """The least amount of any value: only where this cannot bind, nothing of the limit does."""
    return min([limit.max, *(o.max for o in limit.overrides)])


def _month_most(spec: BudgetSpec) -> Decimal | None:
    """The most that a month may admit of anything: buffer, raises and rollover included; None: it is soft."""
    rejects = [t.percent for t in spec.alert_thresholds if t.action == "reject"]
    if spec.alert_thresholds and not rejects:
        return None
    most = spec.monthly_budget_usd + sum((i.usd for i in spec.increase), Decimal(0))
    if spec.rollover:
        most += spec.monthly_budget_usd * spec.rollover.percent / 100
    most = most * min(rejects, default=100) / 100
    if any(a.essential for a in spec.apps):
        most = most * (100 + spec.emergency_buffer_percent) / 100
    return most


def _a(window: str) -> str:
    return "in all" if window == "total" else f"a {window}"


def limit_advice(spec: BudgetSpec) -> Iterator[str]:
    """Say what is allowed but probably not meant, or not seen at once."""
    windows = {limit.window for limit in spec.limits}
    if spec.week_starts_on is not None and "week" not in windows:
        yield "weekStartsOn does nothing: no limit has the window week"
    if spec.year_starts_in is not None and not windows & {"quarter", "year"}:
        yield "yearStartsIn does nothing: no limit has the window quarter or year"
    if spec.members is not None:
        named = [
            field.alias or name
            for name, field in BudgetSpec.model_fields.items()
            if name in _NOT_OF_GROUPS and getattr(spec, name) != field.get_default()
        ]
        yield f"it is a group over the teams {', '.join(spec.members)}: their spend together is bounded"
        if named:
            yield f"of a group, {', '.join(named)} does nothing: models are chosen by the budget of the team"
        if any(t.action == "alert_and_downgrade" for t in spec.alert_thresholds):
            yield "alert_and_downgrade of a group only alerts: models are chosen by the budget of the team"
    elif is_team_glob(spec.team):
        yield (
            f"team {spec.team!r} is a template: each team that it matches and that has no budget of its own gets "
            "one like this; teams that nobody vouches for (plain headers) can be invented, so that a group over "
            f"{spec.team!r} should bound them together"
        )


_NOT_OF_GROUPS = frozenset(
    {"default_model", "cost_routing", "downgrades", "output_token_cap", "clamp_output", "cut_streams", "mode",
     "unknown_apis", "aborted_answers", "max_usd_per_request", "unpriced_models"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """A group as the rules across documents see it. `age` sorts the older first."""

    name: str
    members: tuple[str, ...]
    age: tuple[str, ...] = ()


def group_troubles(groups: Sequence[Group], teams: Iterable[str]) -> Mapping[str, Trouble]:
    """By group: what is wrong with it beside the others. The older keep what they have."""
    found: dict[str, Trouble] = {}
    names = {g.name for g in groups}
    accepted: list[tuple[Group, tuple[ModelPattern, ...]]] = []
    known = list(dict.fromkeys([*teams, *(_sample(m) for g in groups for m in g.members)]))
    for group in sorted(groups, key=lambda g: g.age):
        nested = next((i for i, m in enumerate(group.members) if m in names and m != group.name), None)
        if nested is not None:
            problem = f"is {group.members[nested]!r}, which is a group"
            found[group.name] = ("members", nested), problem, "name its teams: groups do not hold groups"
            continue
        patterns = tuple(map(team_pattern, group.members))
        for i, pattern in enumerate(patterns):
            for team in (t for t in known if pattern.matches(t) and t not in names):
                others = [g.name for g, its in accepted if any(p.matches(team) for p in its)]
                if len(others) >= GROUPS_MAX:
                    problem = f"puts team {team} into more than {GROUPS_MAX} groups ({', '.join(others)})"
                    found[group.name] = (
                        ("members", i),
                        problem,
                        "leave the team out, or take it out of another",
                    )
                    break
            if group.name in found:
                break
        else:
            accepted.append((group, patterns))
    return found


def _sample(member: str) -> str:
    """A team that a member means: itself, or one that its glob matches."""
    return member.replace("*", "").replace("?", "x") or "any" if is_team_glob(member) else member
