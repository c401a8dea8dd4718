"""What is wrong with settings, budgets and prices together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches

from spendgate.budget.policy import Policy, TeamBudget
from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.exchange.snapshot import routes_of
from spendgate.identity.api_keys import KeyRing
from spendgate.identity.identity import UNATTRIBUTED
from spendgate.pricing.table import PriceTable
from spendgate.settings.config import ApiKeyIdentity, HeaderIdentity, JwtIdentity, Settings
from spendgate.values import dataclass

SOON_MS = 14 * 86_400_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What the ledger knows of this month: teams with spend, and the models each used."""

    models: Mapping[str, frozenset[str]] = field(default_factory=dict)


def check_policy(
    policy: Policy, settings: Settings, prices: PriceTable, spent: Spent, now_ms: int
) -> list[Finding]:
    """Every finding of the budgets in force."""
    out: list[Finding] = []
    if not policy.every:
        out.append(
            error(
                "policy-empty",
                "policy",
                "there is no budget: everything passes",
                "give --policy, or apply an LLMBudget",
            )
        )
    for budget in (*policy.budgets.values(), *policy.templates):
        out += _budget(budget.team, budget, now_ms)
        for model in sorted(_models(budget)):
            out += _model(f"team {budget.team}", model, settings, prices, budget.unpriced_models)
    for team, models in spent.models.items():
        unpriced = sorted(m for m in models if m != "unknown" and prices.find(m) is None)
        for model in unpriced:
            out.append(_unpriced(f"team {team}", model))
    out += _strangers(policy, settings, spent)
    return out


def _budget(team: str, budget: TeamBudget, now_ms: int) -> Iterator[Finding]:
    where = f"team {team}"
    if budget.audit:
        yield warning("budget-audit", where, "mode: audit reports and refuses nothing", "set mode: enforce")
    elif budget.reject_threshold is None:
        yield warning("budget-soft", where, "no threshold rejects: the budget is never a bound",
                      "add {percent: 100, action: reject} to alertThresholds")  # fmt: skip
    if budget.failure_policy == "open" and not budget.audit:
        yield warning("budget-fails-open", where, "while Redis is away, its spend has no limit",
                      "take failurePolicy: open away, or set failOpenLimitUSD")  # fmt: skip
    if budget.output_token_cap is None and not budget.clamp_output:
        yield info("output-cap", where, "requests without an output cap are estimated, not bounded",
                   "set outputTokenCap")  # fmt: skip
    if budget.raises and all(r.until_ms <= now_ms for r in budget.raises):
        yield info("increase-over", where, "every increase is over", "take it away from the document")


def _models(budget: TeamBudget) -> set[str]:
    named = {budget.default_model, *(d.to for d in budget.downgrades)}
    if budget.routing is not None:
        named |= {budget.routing.cheap_model, budget.routing.expensive_model}
    named |= {r.pattern.text for r in budget.model_rules if "*" not in r.pattern.text}
    return named - {""}


def _unpriced(where: str, model: str) -> Finding:
    return error("model-unpriced", f"{where}, model {model}", "has no price: it is charged as the dearest there is",
                 f"give --prices a line: models: {{{model}: {{input: …, output: …}}}}")  # fmt: skip


def _model(
    where: str, model: str, settings: Settings, prices: PriceTable, unpriced: str
) -> Iterator[Finding]:
    if prices.find(model) is None and unpriced != "allow":
        yield _unpriced(where, model)
    routes = routes_of(settings.upstreams)
    if routes and not any(not r.models or any(p.match(model) for p in r.models) for r in routes):
        yield error("model-unserved", f"{where}, model {model}", "no upstream serves it: it is never routed to",
                    "add it to `models` of an upstream")  # fmt: skip


def _strangers(policy: Policy, settings: Settings, spent: Spent) -> Iterator[Finding]:
    teams = set(policy.budgets)
    if not _is_bounded(policy, UNATTRIBUTED) and settings.unbudgeted == "allow":
        yield warning("unattributed-unbounded", f"team {UNATTRIBUTED}", "who names no team spends without a bound",
                      "give the team `unattributed` a budget of its own, or set unbudgeted: reject")  # fmt: skip
    idle = [t for t in teams if t not in spent.models and t != UNATTRIBUTED]
    for team in sorted(set(spent.models) - {UNATTRIBUTED}):
        if _is_bounded(policy, team):
            continue
        near = get_close_matches(team, idle, n=1, cutoff=0.75)
        if near:
            yield error("budget-misnamed", f"team {team}",
                        f"spends without a budget, and {near[0]}, which has one, spends nothing",
                        f"write the same name in both: the team is called {team} by its identity")  # fmt: skip
        elif settings.unbudgeted == "allow":
            yield warning("team-unbudgeted", f"team {team}", "spends and has no budget",
                          "give it an LLMBudget, or set unbudgeted: reject")  # fmt: skip


def _is_bounded(policy: Policy, team: str) -> bool:
    """By a budget of its own, a template's or a group's."""
    return policy.budget(team) is not None or bool(policy.groups_of(team))


def check_settings(
    settings: Settings, rings: Mapping[str, KeyRing], environ: Mapping[str, str], now_ms: int
) -> Iterator[Finding]:
    """Every finding of the settings alone."""
    if settings.ledger_timeout >= settings.message_timeout:
        yield error("ledger-timeout", "settings", "Envoy gives up before the ledger may answer",
                    "set ledger_timeout below message_timeout")  # fmt: skip
    if settings.usage_log == "off":
        yield warning("usage-log-off", "settings", "no audit, no simulation, no repair after a loss",
                      "take usage_log: off away")  # fmt: skip
    yield from _identity(settings, rings, now_ms)
    issued = any(isinstance(s, ApiKeyIdentity) and s.file for s in settings.identity)
    for upstream in settings.upstreams:
        where = f"upstream {upstream.name}"
        if upstream.credential is None:
            if issued:
                yield error("credential-missing", where, "clients send keys of ours, which no provider knows",
                            "give the upstream a `credential`")  # fmt: skip
            continue
        missing = upstream.credential.missing(environ)
        if missing:
            yield warning("credential-absent", where, f"{missing} here", "set it where Envoy runs")
        if settings.passthrough == "allow":
            yield warning("passthrough-open", where, "anybody uses our key on paths that nobody meters (batches)",
                          "set passthrough: identified, or reject")  # fmt: skip


def _identity(settings: Settings, rings: Mapping[str, KeyRing], now_ms: int) -> Iterator[Finding]:
    for source in settings.identity:
        match source:
            case HeaderIdentity(trusted_principals=()):
                yield warning("identity-headers", "settings, identity", "a header spends another team's budget",
                              "use spiffe, jwt or api-key, or name trusted_principals")  # fmt: skip
            case JwtIdentity(issuer=""):
                yield warning("identity-issuer", "settings, identity", "every issuer that Envoy believes names teams",
                              "name the issuer of the source")  # fmt: skip
            case ApiKeyIdentity(file=file) if file:
                yield from _keys(file, rings.get(file, KeyRing()), now_ms)


def _keys(file: str, ring: KeyRing, now_ms: int) -> Iterator[Finding]:
    active = [k for k in ring.keys.values() if k.state(now_ms) == "active"]
    if not active and not ring.plain:
        yield error("keys-none", file, "no key is active: nobody is known", "spendgate keys issue --team …")
    for key in active:
        if key.expires_ms and key.expires_ms - now_ms < SOON_MS:
            days = (key.expires_ms - now_ms) // 86_400_000
            yield warning("key-ends", f"{file}, key {key.id}", f"of team {key.team} ends in {days} days",
                          f"spendgate keys rotate {key.id}")  # fmt: skip


def check_in_force(given: Policy, rows: list[dict[str, object]], now_ms: int) -> Iterator[Finding]:
    """Does the gateway enforce the budgets that were given? `rows`: its own /v1/budgets."""
    from spendgate.money import nano_to_usd, usd_to_nano

    known = {
        str(r["team"]): nano_to_usd(
            usd_to_nano(str(r["budget_usd"])) - usd_to_nano(str(r.get("carried_usd", 0)))
        )
        for r in rows
        if r["budget_usd"] is not None
    }
    for team, budget in given.budgets.items():
        mine = nano_to_usd(budget.limit_nanousd(now_ms))
        if team not in known:
            yield error("policy-unenforced", f"team {team}", "the gateway does not know this budget",
                        "give the gateway the same --policy, or see that the controller runs")  # fmt: skip
        elif known[team] != mine:
            yield error("policy-stale", f"team {team}", f"the gateway enforces {known[team]} USD, the file says {mine}",
                        "see spendgate_policy_reload_errors_total and the gateway's log")  # fmt: skip
