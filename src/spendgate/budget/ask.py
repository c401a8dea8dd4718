"""What the decision takes in and gives out: plain data, gathered before judging."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from decimal import Decimal
from types import MappingProxyType

from spendgate.budget.bounds import Candidate, Clamp
from spendgate.money import usd_to_nano
from spendgate.pricing.aliases import known_as
from spendgate.values import dataclass

ANY_MODEL = "*"
"""A model that the provider chooses (`dialects.request.fallbacks`)."""
NO_TAGS: Mapping[str, str] = MappingProxyType({})


def _nobody(model: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as the decision sees it. `input_tokens` is the best count, for the routing threshold."""

    team: str
    app: str
    model: str
    dialect: str
    input_tokens: int
    run: str = ""
    require_model: str = ""
    client_output_cap: int | None = None
    needs: frozenset[str] = frozenset()
    fallbacks: tuple[str, ...] = ()
    """Models that may answer in the stead of `model` as long as the request keeps it."""
    other_models: tuple[str, ...] = ()
    """Models that may be billed besides, whichever is written."""
    known_as: Callable[[str], tuple[str, ...]] = known_as
    """The names of a model, by which rules cover it."""
    fits: bool = False
    """What is held for it may be learned, and grow."""
    user: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    provider_of: Callable[[str], str] = _nobody
    """Who serves a model; "" where that is not known."""

    def may_answer(self, model: str) -> tuple[str, ...]:
        """All models that may be billed where `model` is sent, itself first."""
        if not (self.fallbacks or self.other_models):
            return (model,)
        listed = self.fallbacks if model == self.model else ()
        return tuple(dict.fromkeys((model, *listed, *self.other_models)))


@dataclass(frozen=True, slots=True)
class Shares:
    """The worst cases of an estimate's input and output, nano-USD; what it is more is fees. `input_min_nanousd`: the
    input at the lowest rate that it can be billed at; `input_tokens`: the bound that both are for."""

    input_nanousd: int
    output_nanousd: int
    input_min_nanousd: int
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What one model would cost for this request.

    `estimate_nanousd` is the most it is expected to cost with `output_cap` (the cap that the estimate
    assumes). `rank_picousd` compares models: input price + output price of one token each; None when the
    model has no price of its own (then the estimate rests on `priced_as`, see rule 11).
    """

    estimate_nanousd: int
    rank_picousd: int | None
    output_cap: int
    clamp: Clamp | None = None
    priced_as: str = ""
    learned: bool = False
    """The estimate rests on the models that answered under this name before."""
    shares: Shares | None = None
    """What the estimate consists of, where it is asked for."""
    tokens: int = 0
    """The most tokens that it is expected to take, input and output."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate with why it stands in the plan. `candidate.model` is what would be sent."""

    candidate: Candidate
    reason: str
    """`` (as asked), `simple_query`, `complex_query`, `budget_pressure`, `required_model`."""
    downgraded: bool
    quote: Quote
    kept_because: str = ""
    """Why a wanted route or downgrade did not happen and this model stays: `dearer`, `dialect`, `signed`,
    `upstream`, `capability`, or the reason why the wanted model is refused."""
    output_cap: int | None = None
    """The output limit to write into the request for this choice; None: leave the request as it is."""


@dataclass(frozen=True, slots=True)
class PlannedRefusal:
    """A refusal known before the ledger is asked (403 app, unpriced, unbudgeted, request cost)."""

    status: int
    reason: str
    model: str
    details: dict[str, object] = field(default_factory=dict)

    @property
    def estimated_nanousd(self) -> int:
        """What the request was estimated at; 0 where it was refused before that."""
        usd = self.details.get("estimated_usd")
        return usd_to_nano(Decimal(usd)) if isinstance(usd, str) else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision's outcome: choices in order for one atomic ledger call, or a refusal.

    `audit`: everything is decided and reported, nothing enforced (rule 13). `limit_nanousd` is the month's
    effective budget (None without one) for utilization. `output_cap` is written into the request where the
    client gave none (policy's outputTokenCap). `kept_because` is why `X-Require-Model` could not be followed
    (each choice has its own for routes and downgrades). `unpriced`: the requested model has no price.
    """

    choices: tuple[Choice, ...]
    refusal: PlannedRefusal | None = None
    audit: bool = False
    limit_nanousd: int | None = None
    bound_nanousd: int | None = None
    output_cap: int | None = None
    kept_because: str = ""
    unpriced: bool = False
    note: str = ""
    """`no_budget_defined` where the team has none (rule 1)."""
    requested: Choice | None = None
    """In audit, the requested model, counted and never refused: what passes whatever `choices` say."""


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """The operator's settings that the decision reads."""

    unbudgeted: str = "allow"
    default_overshoot_percent: Decimal = Decimal(5)
