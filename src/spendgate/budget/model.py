"""LLMBudget documents as pydantic models: the single source of what a budget may say.

The CRD's schema is made from these models, so every constraint of a single field is declared on the field.
What needs two fields to judge stands in `checks.py`. Amounts are USD as exact decimals, times RFC 3339.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from spendgate.durations import parse_duration_ms

GROUP = "ai.systemhardening.com"
API_VERSION = f"{GROUP}/v1"
KIND = "LLMBudget"

USD_MAX = 9_000_000
"""The ledger's integers are exact up to $9,007,199.25 a counter (see `money.LEDGER_MAX_NANOUSD`)."""

LIMITS_MAX, MEMBERS_MAX, GROUPS_MAX = 40, 200, 3
"""Limits of one budget, members of one group, groups that one team may be in."""
COUNT_LIMIT_MAX = 10**15
"""The most that a limit of requests or tokens may say: the ledger counts exactly up to 2^53."""

Action = Literal["alert", "alert_and_downgrade", "reject"]
Unit = Literal["usd", "requests", "tokens"]
LimitWindow = Literal["hour", "day", "week", "month", "quarter", "year", "total"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
PER = r"^(team|app|user|run|model|provider|tag:[A-Za-z0-9_.-]{1,64})$"


def _alias(name: str) -> str:
    return to_camel(name).replace("Usd", "USD")


def _number(value: Any) -> Any:
    """Numbers only: the CRD says `type: number`, so a quoted "8000" must fail in a file as in a cluster."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PydanticCustomError("number", "is not a number")
    return value


def _integer(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PydanticCustomError("integer", "is not a whole number")
    if isinstance(value, int):
        return value
    if not Decimal(value).is_finite() or value != int(value):
        raise PydanticCustomError("integer", "is not a whole number")
    return int(value)


def _has_no_wildcard(value: str) -> str:
    if any(c in value for c in "*?["):
        raise PydanticCustomError("no_wildcard", "is a pattern, but names the model to send")
    return value


def _window(value: str) -> str:
    try:
        ms = parse_duration_ms(value)
    except ValueError as e:
        raise PydanticCustomError("duration", "is {e}", {"e": str(e)}) from e
    if not 1000 <= ms <= 24 * 3_600_000:
        raise PydanticCustomError("duration", "is not within 1s and 24h")
    return value


def _between(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "minimum": low, "maximum": high})


Usd = Annotated[Decimal, Field(ge=0, le=USD_MAX), BeforeValidator(_number), _between(0, USD_MAX)]
Percent = Annotated[Decimal, Field(ge=0, le=100), BeforeValidator(_number), _between(0, 100)]
Name = Annotated[str, Field(min_length=1, max_length=253)]
Model = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_has_no_wildcard)]
Pattern = Annotated[str, Field(min_length=1, max_length=512)]
Flag = Annotated[bool, Field(strict=True)]
Amount = Annotated[
    Decimal, Field(ge=0, le=COUNT_LIMIT_MAX), BeforeValidator(_number), _between(0, COUNT_LIMIT_MAX)
]
MonthNumber = Annotated[int, Field(ge=1, le=12), BeforeValidator(_integer)]
ThresholdPercent = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_integer)]
Tokens = Annotated[int, Field(ge=0, le=100_000_000), BeforeValidator(_integer)]
TokenCap = Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(_integer)]


HoldPercentile = Annotated[int, Field(ge=50, le=100), BeforeValidator(_integer)]
RepeatCount = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_integer)]
Window = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"}),
]
HoldSamples = Annotated[int, Field(ge=1, le=500), BeforeValidator(_integer)]


class Part(BaseModel):
    """A part of a document: no unknown fields; a field that is null counts as left out, as in Kubernetes."""

    model_config = ConfigDict(alias_generator=_alias, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


class AlertThreshold(Part):
    """What happens when the month's spend reaches a percentage of the budget."""

    percent: ThresholdPercent = Field(description="Percent of monthlyBudgetUSD, 1 to 1000.")
    action: Action = Field(
        description="alert: notify; alert_and_downgrade: also use cheaper models; reject: refuse with 429."
    )
    notify_channel: str = Field(
        "", description="Whom to notify and ask for an increase: a Slack channel, an address, a receiver."
    )


class ModelLimit(Part):
    """Bounds all models that a pattern matches, together."""

    model_pattern: Pattern = Field(
        description="Name or glob (*, ?, [abc]), for all names of a model; exact wins, then the longest prefix."
    )
    max_monthly_usd: Usd | None = Field(
        None, alias="maxMonthlyUSD", description="USD a month for all models that match. 0 admits nothing."
    )
    allowed_apps: tuple[Name, ...] = Field((), description="Apps that may use these models; empty: all.")


class CostRouting(Part):
    """Chooses the model by the size of the request and the state of the budget."""

    enabled: Flag = Field(False, description="Route requests; needs cheapModel.")
    cheap_model: Model | None = Field(None, description="Model for simple requests and under pressure.")
    expensive_model: Model | None = Field(None, description="Model for complex requests; none: as asked.")
    complexity_threshold: Tokens = Field(500, description="Input tokens below this make a request simple.")


class App(Part):
    """One application of the team."""

    name: Name = Field(description="The app's name as requests carry it.")
    essential: Flag = Field(False, description="May use the emergency buffer above the budget.")
    max_monthly_usd: Usd | None = Field(None, alias="maxMonthlyUSD", description="USD a month for this app.")


class Downgrade(Part):
    """Where requests for one family of models go under budget pressure."""

    from_: Pattern = Field(alias="from", description="Requested model, exact or glob.")
    to: Model = Field(description="Model to use instead; used only where it is not dearer.")


class Increase(Part):
    """A temporary raise of the month's budget that ends by itself."""

    usd: Usd = Field(description="USD added to monthlyBudgetUSD while it lasts.")
    until: AwareDatetime = Field(description="End of the raise, RFC 3339 with time zone.")
    reason: str = Field("", description="Why, for audits.")
    approved_by: str = Field("", description="Who approved it, for audits.")


class RepeatLimit(Part):
    """How often the same request may be sent within one run: a loop."""

    max: RepeatCount = Field(description="So many pass, the next is refused, 1 to 1000.")
    window: Window = Field(
        "10m", description="How long they are counted together, from the first: 1s to 24h."
    )


class LimitOverride(Part):
    """Another amount for some values of a limit."""

    match: Pattern = Field(description="A value, or a glob of values; the most specific wins.")
    max: Amount = Field(description="The most for each of them, in the limit's unit. 0 admits nothing.")


class LimitThreshold(Part):
    """What happens when one value of a limit reaches a percentage of its most."""

    percent: ThresholdPercent = Field(description="Percent of max, 1 to 1000.")
    action: Literal["alert"] = Field("alert", description="alert: notify.")
    notify_channel: str = Field("", description="Slack channel to notify.")


class Limit(Part):
    """Bounds each value of a dimension by itself: one rule is the default for all of them."""

    per: str = Field(
        pattern=PER, description="What is bounded: team, app, user, run, model, provider or tag:NAME."
    )
    match: Pattern | None = Field(
        None, description="Only values that this glob matches; of per: team, only these models."
    )
    unit: Unit = Field(
        "usd", description="usd, requests (counted when admitted) or tokens (input and output)."
    )
    max: Amount = Field(description="The most for each value in a window. 0 admits nothing.")
    window: LimitWindow = Field(
        "month", description="hour, day, week, month, quarter, year, or total: never anew."
    )
    overrides: tuple[LimitOverride, ...] = Field((), description="Values with another amount.")
    thresholds: tuple[LimitThreshold, ...] = Field((), description="Alerts on the way to max.")


class Rollover(Part):
    """Adds what was left of last month's budget to this month's."""

    percent: Percent = Field(description="At most this percentage of monthlyBudgetUSD is added.")


class BudgetSpec(Part):
    """What one team, each team of a template, or all teams of a group together may spend."""

    team: Name = Field(
        description="The team, as the gateway identifies it; a glob (*, ml-*) is a template for each team without a "
        "budget of its own; with members, the group's name."
    )
    members: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MEMBERS_MAX)] | None = Field(
        None, description="Names or globs of teams: the budget is a group's, and bounds all of them together."
    )
    monthly_budget_usd: Usd = Field(
        alias="monthlyBudgetUSD", description="USD a UTC calendar month. 0 admits nothing."
    )
    alert_thresholds: tuple[AlertThreshold, ...] = Field(
        (), description="Left out: 50 alert, 80 alert_and_downgrade, 100 reject. Without a reject: soft."
    )
    model_limits: tuple[ModelLimit, ...] = Field((), description="Limits of models, by pattern.")
    default_model: Model | None = Field(None, description="Model used from alert_and_downgrade on.")
    cost_routing: CostRouting | None = Field(None, description="Routing by complexity and pressure.")
    apps: tuple[App, ...] = Field((), description="Apps with a rule of their own.")
    overshoot_percent: Percent | None = Field(
        None, description="Percent that one last admitted request may reach above a limit; default 5."
    )
    emergency_buffer_percent: Percent = Field(
        Decimal(10), description="Percent by which an essential app's bound is higher."
    )
    daily_budget_usd: Usd | None = Field(None, alias="dailyBudgetUSD", description="USD a UTC day.")
    max_usd_per_hour: Usd | None = Field(
        None, alias="maxUSDPerHour", description="USD a clock hour (UTC); stops a runaway loop."
    )
    max_usd_per_request: Usd | None = Field(
        None, alias="maxUSDPerRequest", description="USD that one request may be estimated at."
    )
    max_usd_per_run: Usd | None = Field(
        None, alias="maxUSDPerRun", description="USD for one run (agent, batch job), named by the client."
    )
    output_token_cap: TokenCap | None = Field(
        None, description="Output limit in tokens, written into requests that give none."
    )
    clamp_output: Flag = Field(
        False, description="Lower the output limit to the money left instead of refusing; no overshoot."
    )
    cut_streams: Flag = Field(
        False, description="End a stream when its true cost passes its estimate and the money left."
    )
    holds: Literal["worst", "learned"] = Field(
        "worst",
        description="What a stream holds: its worst case, or what the true costs of its app and model say, growing "
        "with what flows; all else holds the worst case.",
    )
    hold_percentile: HoldPercentile = Field(
        99, description="Percent of the last answers that a learned hold covers, 50 to 100."
    )
    hold_min_samples: HoldSamples = Field(
        50, description="Answers of an app and model from which on holds are learned, 1 to 500."
    )
    repeats: RepeatLimit | None = Field(
        None,
        description="The same request (model and messages) of one run again and again: refused as a loop.",
    )
    downgrades: tuple[Downgrade, ...] = Field((), description="Targets under pressure, by requested model.")
    mode: Literal["enforce", "audit"] = Field("enforce", description="audit: decide and report only.")
    failure_policy: Literal["open", "closed"] | None = Field(
        None, description="Without a ledger: open lets all pass, closed none; left out: failOpenLimitUSD."
    )
    fail_open_limit_usd: Usd | None = Field(
        None,
        alias="failOpenLimitUSD",
        description="USD a replica admits while the ledger does not answer; default 1 % of the month.",
    )
    unpriced_models: Literal["estimate", "reject", "allow"] = Field(
        "estimate", description="Models without a price: estimate by the dearest relative, reject, or allow."
    )
    unknown_apis: Literal["pass", "reject"] | None = Field(
        None,
        description="Calls that may cost money and that no dialect can meter: let pass, or 403; left out: the "
        "gateway's setting, and 403 where a known provider answers.",
    )
    increase: tuple[Increase, ...] = Field((), description="Temporary raises.")
    limits: tuple[Limit, ...] = Field(
        (), max_length=LIMITS_MAX, description="Bounds of any dimension, unit and window; all must hold."
    )
    time_zone: Name | None = Field(
        None, description="IANA name, Europe/Berlin: where windows of limits begin; left out: UTC. Months of the "
        "budget itself are UTC's."
    )  # fmt: skip
    week_starts_on: Weekday | None = Field(None, description="First day of a limit's week; left out: monday.")
    year_starts_in: MonthNumber | None = Field(
        None, description="Month, 1 to 12, in which a limit's year and its quarters begin; left out: 1."
    )
    rollover: Rollover | None = Field(None, description="Adds last month's rest to this month's budget.")
    aborted_answers: Literal["hold", "flowed"] | None = Field(
        None,
        description="A client that leaves where output can be hidden: charge its hold, or what flowed; left out: "
        "the gateway's setting (hold).",
    )


class Metadata(BaseModel):
    """Of Kubernetes' object metadata, the fields that are read here; the rest is left alone."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: str = ""


class LLMBudget(BaseModel):
    """One document. `status` is the controller's and not read."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    api_version: Literal["ai.systemhardening.com/v1"]
    kind: Literal["LLMBudget"]
    metadata: Metadata = Metadata()
    spec: BudgetSpec
    status: Any = Field(None, exclude=True, repr=False)
