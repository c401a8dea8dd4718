"""LiteLLM's teams, keys, organizations and settings as drafts of budgets.

Read are the answers of `/team/list`, `/team/info`, `/key/list?return_full_object=true`, `/organization/list`,
`/user/list`, `/customer/list`, `/tag/list`, `/budget/list`, and config.yaml. Their fields:
https://docs.litellm.ai/docs/proxy/users, https://docs.litellm.ai/docs/proxy/team_budgets and schema.prisma of
BerriAI/litellm (v1.95 to v1.106). A window of 30 days ends on the first of the month, one of 7 days on Monday, one of a
day at midnight: https://docs.litellm.ai/docs/proxy/budget_reset_and_tz.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import field, replace
from decimal import Decimal
from typing import Any

from spendgate.errors import ConfigurationError
from spendgate.migration.drafts import Draft, Limit, Note, Window
from spendgate.migration.values import Json, amount, is_set, left_out, object_of, objects, text
from spendgate.values import dataclass

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WINDOWS: dict[int, Window] = {3600: "hour", 86400: "day", 604800: "week", 30 * 86400: "month"}
RATE = "a rate a minute: the shortest window here is an hour; limit the rate in Envoy"
REASONS = {
    "tpm_limit": RATE,
    "rpm_limit": RATE,
    "max_parallel_requests": "requests at once are not limited; Envoy's circuit breakers are",
    "models": "a list of allowed models; `modelLimits` with `maxMonthlyUSD: 0` close one, `allowedApps` open it",
    "default_team_member_models": "models are not allowed by member",
    "allowed_models": "models are not allowed by member",
    "project_id": "projects are no unit here; an app is the nearest",
    "agent_id": "agents are no unit here; an app is the nearest",
    "object_permission": "what may be called is no budget",
    "object_permission_id": "what may be called is no budget",
    "access_group_ids": "what may be called is no budget",
    "guardrails": "guardrails are no budget",
    "policies": "policies of guardrails are no budget",
    "router_settings": "routing is Envoy's, and `costRouting`",
    "allowed_routes": "which paths are allowed is Envoy's",
    "allowed_cache_controls": "there is no cache here",
    "expires": "a key's end: `spendgate keys issue --expires`",
    "duration": "a key's end: `spendgate keys issue --expires`",
    "litellm_model_table": "other names of models: `aliases` of the prices file",
    "aliases": "other names of models: `aliases` of the prices file",
    "config": "a key's own configuration is no budget",
    "permissions": "permissions are no budget",
    "rotation_interval": "keys are rotated by `spendgate keys rotate`",
}
_OF_RECORDS = (
    "organization_id",
    "admins", "allow_team_guardrail_config", "auto_rotate", "blocked", "budget_duration", "budget_id",
    "budget_limits", "budget_reset_at", "created_at", "created_by", "created_by_user", "key", "key_alias",
    "key_name", "keys", "keys_count", "last_active", "last_refreshed_at", "litellm_budget_table",
    "litellm_organization_table", "max_budget", "members", "members_count", "members_with_roles",
    "metadata", "model_id", "model_max_budget", "model_spend", "org_id", "organization_alias",
    "rotation_count", "soft_budget", "soft_budget_cooldown", "spend", "team_alias", "team_id",
    "team_member_budget", "team_member_budget_table", "team_member_permissions", "team_memberships",
    "token", "token_id", "updated_at", "updated_by", "user", "user_email", "user_id",
)  # fmt: skip
"""Fields that are read, or that say nothing about limits."""


def window(duration: Any) -> Window | None:
    """A budget's window by LiteLLM's duration; none means for ever. None where no window here is the same."""
    if duration in (None, ""):
        return "total"
    found = re.fullmatch(r"(\d+)(mo|[smhdw])", str(duration))
    if not found:
        return None
    if found[2] == "mo":
        return "month" if found[1] == "1" else None
    return _WINDOWS.get(int(found[1]) * _SECONDS[found[2]])


@dataclass(slots=True)
class _Source:
    """Everything that was given, by kind, each with its place."""

    teams: dict[str, tuple[str, Json]] = field(default_factory=dict)
    keys: list[tuple[str, Json]] = field(default_factory=list)
    budgets: dict[str, Json] = field(default_factory=dict)
    others: list[tuple[str, str, Json]] = field(default_factory=list)
    configs: list[tuple[str, Json]] = field(default_factory=list)


def read(given: list[tuple[str, Any]], notes: list[Note]) -> list[Draft]:
    """The drafts of what was given: (path, document). Raises ConfigurationError for what is none of LiteLLM's."""
    source = _Source()
    for path, document in given:
        _sort(document, path, source)
    names = _team_names(source.teams, notes)
    drafts = {key: _team(item, names[key], where, notes) for key, (where, item) in source.teams.items()}
    for where, item in source.keys:
        _key(item, where, source, drafts, notes)
    groups = [_other(kind, where, item, source.teams, names, notes) for kind, where, item in source.others]
    for where, item in source.configs:
        groups += _config(item, where, notes)
    if any(is_set(item.get("spend")) for _, item in source.teams.values()):
        text_ = "what the running windows have spent is not taken over: `spendgate ledger adjust` books it"
        notes.append(Note("told", "spend", text_))
    if source.keys:
        text_ = "keys themselves are not taken over: `spendgate keys issue --team TEAM --app KEY_ALIAS`"
        notes.append(Note("told", "keys", text_))
    return [*drafts.values(), *(g for g in groups if g is not None)]


def _sort(document: Any, path: str, source: _Source) -> None:
    if isinstance(document, dict):
        if {"litellm_settings", "model_list", "router_settings", "general_settings"} & document.keys():
            source.configs.append((path, document))
            return
        if "team_info" in document:
            info = {
                **object_of(document, "team_info"),
                **{k: v for k, v in document.items() if k != "team_info"},
            }
            _sort([info], path, source)
            return
        inner = next((n for n in ("keys", "teams", "users") if n in document), "")
        if not inner and "team_id" not in document:
            raise _unknown(path)
        _sort(document[inner] if inner else [document], f"{path}: {inner}" if inner else path, source)
        return
    if not isinstance(document, list):
        raise _unknown(path)
    if document and isinstance(document[0], str):
        raise ConfigurationError(
            f"{path}: holds key hashes only; ask for /key/list?return_full_object=true&size=100"
        )
    for where, item in objects(document, path):
        _place(item, where, source)


def _unknown(path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: is none of LiteLLM's: give /team/list, /key/list?return_full_object=true, "
        "/organization/list, /user/list, /customer/list, /tag/list, /budget/list or config.yaml"
    )


def _place(item: Json, where: str, source: _Source) -> None:
    if "token" in item or "key_alias" in item or "key_name" in item:
        source.keys.append((where, item))
    elif "organization_alias" in item and "members_with_roles" not in item:
        source.others.append(("organization", where, item))
    elif "user_role" in item or "user_email" in item:
        source.others.append(("user", where, item))
    elif "team_id" in item:
        source.teams[text(item, "team_id")] = (where, item)
        for key_where, key in objects(item.get("keys") or [], f"{where}.keys"):
            source.keys.append((key_where, {"team_id": item["team_id"], **key}))
    elif "user_id" in item:
        source.others.append(("customer", where, item))
    elif "budget_id" in item and "name" not in item:
        source.budgets[str(item["budget_id"])] = item
    elif "name" in item:
        source.others.append(("tag", where, item))
    else:
        raise _unknown(where)


def _team_names(teams: dict[str, tuple[str, Json]], notes: list[Note]) -> dict[str, str]:
    """The name of each team by its id: its alias, where no other team has the same."""
    count = Counter(text(item, "team_alias") for _, item in teams.values())
    out = {}
    for key, (where, item) in teams.items():
        alias = text(item, "team_alias")
        out[key] = alias if alias and count[alias] == 1 else key
        if alias and count[alias] > 1:
            notes.append(
                Note("otherwise", where, f"{count[alias]} teams are called {alias!r}: named by its id")
            )
    return out


def _team(item: Json, name: str, where: str, notes: list[Note]) -> Draft:
    draft = Draft(name, where, blocked=item.get("blocked") is True)
    draft.limits += _limits(item, "team", "", where, notes)
    draft.warn_usd = amount(item, "soft_budget", where)
    member = object_of(item, "team_member_budget_table")
    draft.limits += _limits(member, "user", "", f"{where}.team_member_budget_table", notes)
    for place, seat in objects(item.get("team_memberships") or [], f"{where}.team_memberships"):
        table = object_of(seat, "litellm_budget_table")
        own = _limits(table, "user", text(seat, "user_id"), place, notes)
        draft.limits += [replace(limit, instead=True) for limit in own]
        left_out(table, place, REASONS, _OF_RECORDS, notes)
    left_out(item, where, REASONS, _OF_RECORDS, notes)
    _metadata(item, where, notes)
    return draft


def _limits(item: Json, per: str, match: str, where: str, notes: list[Note]) -> list[Limit]:
    """What `max_budget`, `budget_limits` and `model_max_budget` bound."""
    windows = [(item.get("max_budget"), item.get("budget_duration"))]
    for _, more in objects(item.get("budget_limits") or [], f"{where}.budget_limits"):
        windows.append((more.get("max_budget"), more.get("budget_duration")))
    out = []
    for most, duration in windows:
        usd = amount({"max_budget": most}, "max_budget", where)
        if usd is not None:
            out += _limit(per, match, usd, duration, where, notes)
    for model, entry in object_of(item, "model_max_budget").items():
        place = f"{where}.model_max_budget.{model}"
        data = entry if isinstance(entry, dict) else {"max_budget": entry}
        usd = amount(data, "budget_limit", place)
        if usd is None:
            usd = amount(data, "max_budget", place)
        duration = text(data, "time_period", "budget_duration") or item.get("budget_duration")
        known = ("budget_limit", "max_budget", "time_period", "budget_duration")
        left_out(data, place, REASONS, known, notes)
        if usd is None:
            continue
        if per == "team":
            out += _limit("model", model, usd, duration, place, notes)
        else:
            notes.append(
                Note("no equal", place, f"a limit for a model and a {'key' if per == 'app' else per}")
            )
    return out


def _limit(per: str, match: str, usd: Decimal, duration: Any, where: str, notes: list[Note]) -> list[Limit]:
    span = window(duration)
    if span is None:
        notes.append(Note("no equal", where, f"a window of {duration}: windows here are the calendar's"))
        return []
    return [Limit(per, usd, span, match=match, where=where)]


def _key(item: Json, where: str, source: _Source, drafts: dict[str, Draft], notes: list[Note]) -> None:
    table = object_of(item, "litellm_budget_table") or source.budgets.get(text(item, "budget_id"), {})
    own = {
        **{k: v for k, v in table.items() if is_set(v)},
        **{k: v for k, v in item.items() if v is not None},
    }
    app, team = text(item, "key_alias"), text(item, "team_id")
    limits = _limits(own, "app", app, where, notes)
    closed = item.get("blocked") is True
    left_out(own, where, REASONS, _OF_RECORDS, notes)
    _metadata(item, where, notes)
    warn = amount(own, "soft_budget", where)
    if warn is not None:
        notes.append(Note("no equal", where, f"soft_budget {warn}: alerts are a team's"))
    if not limits and not closed:
        return
    what = ", ".join(map(str, limits)) or "blocked"
    if not app:
        notes.append(Note("no equal", where, f"{what}: a key without an alias names no app"))
    elif not team:
        notes.append(Note("no equal", where, f"{what}: key {app!r} has no team, and money here is a team's"))
    elif team not in drafts:
        notes.append(Note("no equal", where, f"{what}: team {team!r} is not given; give /team/list too"))
    else:
        drafts[team].limits += limits
        if closed:
            drafts[team].closed_apps.append(app)


def _metadata(item: Json, where: str, notes: list[Note]) -> None:
    reasons = {
        "model_rpm_limit": RATE,
        "model_tpm_limit": RATE,
        "tags": "tags of a key are not counted by",
        "temp_budget_increase": "a raise: `increase` of the budget, with its end",
        "temp_budget_expiry": "a raise: `increase` of the budget, with its end",
        "team_member_budget_id": "the members' own limit: give /team/info of the team too",
        "soft_budget_alerting_emails": "alerts go to Slack or Alertmanager",
    }
    data = object_of(item, "metadata")
    left_out({k: v for k, v in data.items() if k in reasons}, f"{where}.metadata", reasons, (), notes)


_WHY: dict[str, Callable[[Json], str]] = {
    "organization": lambda i: f"organization {text(i, 'organization_alias')!r}: none of its teams is given",
    "user": lambda i: f"user {text(i, 'user_id')!r}: a person's limit over all teams",
    "customer": lambda i: (
        f"customer {text(i, 'user_id')!r}: who is named in a request's `user` can be made up by the "
        "client, and limits nothing"
    ),
    "tag": lambda i: f"tag {text(i, 'name')!r}: tags here have a name and a value (setting `tags`)",
}


def _other(
    kind: str,
    where: str,
    item: Json,
    teams: dict[str, tuple[str, Json]],
    names: dict[str, str],
    notes: list[Note],
) -> Draft | None:
    """What is about no one team: an organization is a group of its teams; all else is named with its limits."""
    own = {**object_of(item, "litellm_budget_table"), **{k: v for k, v in item.items() if v is not None}}
    if kind == "organization":
        key = text(item, "organization_id")
        members = [names[k] for k, (_, t) in teams.items() if t.get("organization_id") == key]
        if members:
            draft = Draft(text(item, "organization_alias"), where, members=members)
            draft.limits += _limits(own, "team", "", where, notes)
            draft.warn_usd = amount(own, "soft_budget", where)
            return draft
    for limit in _limits(own, kind, "", where, notes):
        notes.append(Note("no equal", where, f"{_WHY[kind](item)}: {limit}"))
    return None


_SETTINGS = {
    "max_user_budget": "a default for people",
    "max_internal_user_budget": "a default for people",
    "max_end_user_budget": "a default for customers",
    "default_internal_user_params": "a default for people",
    "default_key_generate_params": "a default for keys",
    "upperbound_key_generate_params": "a bound for keys",
    "tag_budget_config": "limits of tags over all teams",
    "timezone": "months here are UTC's",
}
_ROUTER = {
    "deployment_budget_config": "limits of a deployment over all teams",
}


def _config(item: Json, where: str, notes: list[Note]) -> list[Draft]:
    """The settings: a limit of the whole proxy and those of providers are a group's over all teams, a team's default is
    a template."""
    settings, router = object_of(item, "litellm_settings"), object_of(item, "router_settings")
    everybody = Draft("all-teams", f"{where}: litellm_settings", members=["*"])
    everybody.limits += _limits(settings, "team", "", everybody.where, notes)
    for provider, entry in object_of(router, "provider_budget_config").items():
        place = f"{where}: router_settings.provider_budget_config.{provider}"
        data = entry if isinstance(entry, dict) else {"budget_limit": entry}
        usd = amount(data, "budget_limit", place)
        if usd is not None:
            everybody.limits += _limit("provider", provider, usd, data.get("time_period"), place, notes)
    template = Draft("*", f"{where}: default teams")
    given = settings.get("default_team_settings")
    for entry in (*(given[:1] if isinstance(given, list) else ()), settings.get("default_team_params")):
        if isinstance(entry, dict):
            template.limits += _limits(entry, "team", "", template.where, notes)
            left_out(entry, template.where, REASONS, _OF_RECORDS, notes)
    for section, reasons in (("litellm_settings", _SETTINGS), ("router_settings", _ROUTER)):
        for name, why in reasons.items():
            value = object_of(item, section).get(name)
            if is_set(value) or value == 0:
                shown = f" {value}" if isinstance(value, str | int | Decimal) else ""
                notes.append(Note("no equal", f"{where}: {section}.{name}", f"{why}:{shown}".rstrip(":")))
    for place, model in objects(item.get("model_list") or [], f"{where}: model_list"):
        params = object_of(model, "litellm_params")
        if is_set(params.get("max_budget")):
            name = text(model, "model_name")
            notes.append(Note("no equal", place, f"{name}: a limit of a deployment over all teams"))
    return [draft for draft in (everybody, template) if draft.limits]
