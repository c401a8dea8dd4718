"""Portkey's workspaces, API keys, virtual keys and policies as drafts of budgets.

Read are lists of Portkey's Admin API as they answer (`/admin/workspaces`, `/api-keys`, `/virtual-keys`, `/providers`,
`/integrations`, `/policies/usage-limits`, `/policies/rate-limits`). Their fields: openapi.yaml of Portkey-AI/openapi,
https://portkey.ai/docs/product/enterprise-offering/budget-policies (gateway 1.17 to 2.18).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from spendgate.errors import ConfigurationError
from spendgate.migration.drafts import Draft, Limit, Note, Unit, Window, number_text
from spendgate.migration.values import Json, amount, is_set, left_out, objects, text

RESETS: dict[str, Window] = {"monthly": "month", "weekly": "week"}
RATES: dict[str, Window] = {"rph": "hour", "rpd": "day", "rpw": "week"}
UNITS: dict[str, Unit] = {"cost": "usd", "tokens": "tokens", "requests": "requests"}
KINDS = {
    "workspace": "workspace",
    "api-key": "key",
    "virtual-key": "credential",
    "provider": "credential",
    "integration": "credential",
    "policy_usage_limits": "usage policy",
    "policy_rate_limits": "rate policy",
}
"""Portkey's `object` to what it is here."""
PER = {
    "workspace_id": "team",
    "api_key": "app",
    "metadata._user": "user",
    "model": "model",
    "provider": "provider",
}
_LIMIT = (
    "id", "type", "credit_limit", "alert_threshold", "periodic_reset", "next_usage_reset_at", "last_reset_at",
    "current_usage", "status", "is_exhausted_alerts_sent", "is_threshold_alerts_sent", "periodic_reset_days",
)  # fmt: skip
_POLICY = (
    *_LIMIT, "name", "conditions", "group_by", "workspace_id", "organisation_id", "value_key_usage_map", "created_at",
    "last_updated_at", "object", "unit", "value",
)  # fmt: skip


def read(given: list[tuple[str, Any]], notes: list[Note]) -> list[Draft]:
    """The drafts of what was given: (path, document). Raises ConfigurationError for what is none of Portkey's."""
    found: dict[str, list[tuple[str, Json]]] = {}
    for path, document in given:
        for where, item in objects(_list(document, path), path):
            found.setdefault(_kind(item, where), []).append((where, item))
    drafts = _workspaces(found.get("workspace", []), notes)
    keys = {text(item, "id"): (where, item) for where, item in found.get("key", [])}
    for where, item in keys.values():
        _key(item, where, drafts, notes)
    for where, item in found.get("credential", []):
        for limit in _limits(
            item, "provider", text(item, "provider", "ai_provider_id", "slug"), where, notes
        ):
            notes.append(Note("no equal", where, f"{limit}: a limit of a provider's key over all teams"))
    for kind in ("usage policy", "rate policy"):
        for where, item in found.get(kind, []):
            _policy(item, kind, where, keys, drafts, notes)
    if keys:
        text_ = "keys themselves are not taken over: `spendgate keys issue --team WORKSPACE --app NAME`"
        notes.append(Note("told", "api-keys", text_))
    return list({id(d): d for d in drafts.values()}.values())


def _list(document: Any, path: str) -> Any:
    if isinstance(document, dict):
        return document.get("data", [document])
    if not isinstance(document, list):
        raise ConfigurationError(f"{path}: is no list of Portkey's Admin API")
    return document


def _kind(item: Json, where: str) -> str:
    """By `object` where it says so, else by the fields that only one kind has."""
    named = KINDS.get(text(item, "object"))
    if named:
        return named
    if "conditions" in item:
        return "rate policy" if "unit" in item else "usage policy"
    if "scopes" in item:
        return "key"
    if text(item, "slug", "id").startswith("ws-"):
        return "workspace"
    if "model_config" in item or "ai_provider_id" in item:
        return "credential"
    raise ConfigurationError(
        f"{where}: is none of Portkey's: give /admin/workspaces, /api-keys, /virtual-keys, /integrations, "
        "/policies/usage-limits or /policies/rate-limits"
    )


def _workspaces(items: list[tuple[str, Json]], notes: list[Note]) -> dict[str, Draft]:
    """The drafts by every name that Portkey uses for a workspace: id and slug."""
    out: dict[str, Draft] = {}
    count = Counter(text(item, "name") for _, item in items)
    for where, item in items:
        slug, name = text(item, "slug", "id"), text(item, "name")
        if name and count[name] > 1:
            notes.append(
                Note("otherwise", where, f"{count[name]} workspaces are called {name!r}: named by its slug")
            )
        team = name if name and count[name] == 1 else slug
        draft = Draft(team, where)
        draft.limits += _limits(item, "team", "", where, notes)
        _alert(item, draft, where, notes)
        out |= dict.fromkeys({slug, text(item, "id")} - {""}, draft)
    return out


def _entries(item: Json) -> list[Any]:
    """`usage_limits` is a list at workspaces, one object at keys."""
    value = item.get("usage_limits")
    return value if isinstance(value, list) else [value] if is_set(value) else []


def _limits(item: Json, per: str, match: str, where: str, notes: list[Note]) -> list[Limit]:
    out = []
    for place, entry in objects(_entries(item), f"{where}.usage_limits"):
        left_out(entry, place, {}, _LIMIT, notes)
        out += _limit(entry, per, match, place, notes)
    for place, entry in objects(item.get("rate_limits") or [], f"{where}.rate_limits"):
        out += _rate(entry, per, match, place, notes)
    return out


def _limit(entry: Json, per: str, match: str, where: str, notes: list[Note]) -> list[Limit]:
    most = amount(entry, "credit_limit", where)
    if most is None:
        return []
    unit = UNITS.get(text(entry, "type") or "cost")
    days, reset = entry.get("periodic_reset_days"), text(entry, "periodic_reset")
    span = RESETS.get(reset) if reset else "total"
    if unit is None or span is None or is_set(days):
        window = f"every {days} days" if is_set(days) else reset
        text_ = f"{number_text(most)} {text(entry, 'type')} {window}: windows here are the calendar's"
        notes.append(Note("no equal", where, text_))
        return []
    return [Limit(per, most, span, unit, match, where)]


def _rate(entry: Json, per: str, match: str, where: str, notes: list[Note]) -> list[Limit]:
    most = amount(entry, "value", where)
    kind, rate = text(entry, "type") or "requests", text(entry, "unit")
    if most is None:
        return []
    if kind not in ("requests", "tokens") or rate not in RATES:
        text_ = (
            f"{number_text(most)} {kind} {rate}: the shortest window here is an hour; limit the rate in Envoy"
        )
        notes.append(Note("no equal", where, text_))
        return []
    return [Limit(per, most, RATES[rate], UNITS[kind], match, where)]


def _alert(item: Json, draft: Draft, where: str, notes: list[Note]) -> None:
    """The threshold of the month's money, at which Portkey sends a mail."""
    for place, entry in objects(_entries(item), f"{where}.usage_limits"):
        warn = amount(entry, "alert_threshold", place)
        if warn is None:
            continue
        if text(entry, "type") in ("", "cost") and text(entry, "periodic_reset") == "monthly":
            draft.warn_usd = warn
        else:
            notes.append(
                Note("no equal", place, f"alert_threshold {number_text(warn)}: alerts are of the month's USD")
            )


def _key(item: Json, where: str, drafts: dict[str, Draft], notes: list[Note]) -> None:
    name, workspace = text(item, "name"), text(item, "workspace_id")
    limits = _limits(item, "app", name, where, notes)
    for entry in _entries(item):
        if isinstance(entry, dict) and is_set(entry.get("alert_threshold")):
            notes.append(
                Note("no equal", where, f"alert_threshold {entry['alert_threshold']}: alerts are a team's")
            )
    if not limits:
        return
    what = ", ".join(map(str, limits))
    if workspace not in drafts:
        missing = f"workspace {workspace!r} is not given; give /admin/workspaces too" if workspace else (
            f"key {name!r} has no workspace, and money here is a team's"
        )  # fmt: skip
        notes.append(Note("no equal", where, f"{what}: {missing}"))
        return
    drafts[workspace].limits += limits


def _policy(
    item: Json,
    kind: str,
    where: str,
    keys: dict[str, tuple[str, Json]],
    drafts: dict[str, Draft],
    notes: list[Note],
) -> None:
    """A policy binds one team's limit where it names one workspace, and counts by what a limit here can count by."""
    left_out(item, where, {}, _POLICY, notes)
    if text(item, "status") not in ("", "active"):
        notes.append(Note("told", where, f"policy {text(item, 'name')!r} is {item['status']}: left out"))
        return
    title = f"policy {text(item, 'name') or text(item, 'id')!r}"
    workspace, rest, fault = text(item, "workspace_id"), {}, ""
    for place, condition in objects(item.get("conditions") or [], f"{where}.conditions"):
        key, value = text(condition, "key"), condition.get("value")
        if is_set(condition.get("excludes")):
            fault = f"{place}.excludes: a limit here has no exceptions"
        elif value in ("*", ["*"]):
            continue
        elif key == "workspace_id" and isinstance(value, str):
            workspace = value
        else:
            rest[key] = value
    groups = [text(g, "key") for _, g in objects(item.get("group_by") or [], f"{where}.group_by")]
    counted = [g for g in groups if g != "workspace_id"]
    per, match = _counted(counted, rest, keys)
    if not fault and not per:
        fault = f"counts by {groups} where {sorted(rest)}: a limit here counts by one of {', '.join(PER)}"
    if not fault and workspace not in drafts:
        fault = f"workspace {workspace!r} is not given; give /admin/workspaces too" if workspace else (
            "a limit over all workspaces"
        )  # fmt: skip
    limits = (_limit if kind == "usage policy" else _rate)(item, per or "team", match, where, notes)
    if fault:
        notes += [Note("no equal", where, f"{title}: {limit}: {fault}") for limit in limits]
        return
    drafts[workspace].limits += limits
    if per.startswith("tag:") and limits:
        tag = per.removeprefix("tag:")
        notes.append(Note("told", where, f"{title}: say where the tag {tag!r} comes from (setting `tags`)"))
    if per == "team":
        _alert({"usage_limits": [item]}, drafts[workspace], where, notes)
    elif is_set(item.get("alert_threshold")):
        notes.append(
            Note(
                "no equal", where, f"{title}: alert_threshold {item['alert_threshold']}: alerts are a team's"
            )
        )


def _counted(counted: list[str], rest: dict[str, Any], keys: dict[str, tuple[str, Json]]) -> tuple[str, str]:
    """What a limit counts by, and for which value; nothing where no limit here does."""
    by = {*counted, *rest}
    if not by:
        return "team", ""
    if len(by) != 1:
        return "", ""
    [key] = by
    per = PER.get(key) or (f"tag:{key.removeprefix('metadata.')}" if key.startswith("metadata.") else "")
    value = rest.get(key, "")
    if not isinstance(value, str):
        return "", ""
    if key == "api_key" and value:
        value = text(keys[value][1], "name") if value in keys else ""
        return ("app", value) if value else ("", "")
    if key == "model":  # `@provider/model`; a name here is the model's own
        value = value.rpartition("/")[2] if value.startswith("@") else value
    return per, value
