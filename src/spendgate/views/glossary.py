"""What headers, reasons and outcomes mean, in words: the reference page and the console read them here."""

from __future__ import annotations

from spendgate.identity import headers as h
from spendgate.records.outcome import Outcome

REQUEST_HEADERS: dict[str, str] = {
    ", ".join(h.IDENTITY): (
        "who asks, where the setting `identity` reads plain headers (the default); not sent to the provider"
    ),
    h.REQUIRE_MODEL: "this model and no other: bypasses routing and downgrade, never a limit",
    h.RUN: (
        "the run (agent, batch job) that `maxUSDPerRun`, limits `per: run` and `repeats` bound; "
        "else the trace id of `traceparent`"
    ),
    h.REQUEST_ID: "kept, and written into the usage log",
    h.DOCTOR: "the doctor's credential, signed with the ledger's secret; not sent to the provider",
    h.HANDOVER: (
        "from a sidecar's gateway to the egress gateway's: this call is counted there; signed, for one request, "
        "used once, not sent to the provider"
    ),
}
"""What a request may carry."""

RESPONSE_HEADERS: dict[str, tuple[str, str]] = {
    h.MODEL: ("metered answers", "the model that the request was sent to"),
    h.REASON: ("metered answers, refusals", "why, see below"),
    h.ESTIMATE: ("metered answers", "what was reserved, an exact decimal"),
    h.COST: ("metered answers that are no stream", "the true cost, an exact decimal"),
    h.UTILIZATION: (
        "teams with a budget",
        "(settled + this request's estimate) / budget as a ratio; what others hold is not used",
    ),
    h.REMAINING: (
        "teams with a budget",
        "what the tightest bound has left beside what is held, this request's hold included, an exact decimal of USD; "
        "on refusals what the bound that refused has left",
    ),
    h.DOWNGRADED: ("only then, `true`", "a cheaper model answered because of the budget"),
    h.KEPT: (
        "a downgrade was due and not made",
        "why: `dearer`, `dialect`, `signed` (an AWS signature covers the request), `entry` (ext_authz can change "
        "nothing), `unreadable`, `upstream`, `capability`, or the limit of the cheaper model",
    ),
    h.CLAMPED: ("`clampOutput` lowered it", "the output cap that was sent, in tokens"),
    h.RESET: ("final refusals by a window", "when the budget starts anew, RFC 3339"),
    h.SHOULD_RETRY: (
        "refusals: `false`; `budget_held`, `ledger_unavailable`, `too_busy`: `true`",
        "tells SDKs not to retry into an empty budget, and to retry what passes by itself",
    ),
    h.RETRY_AFTER: (
        "`budget_held` (1 to 30), `ledger_unavailable`, `too_busy`",
        "after how many seconds to ask again",
    ),
}
"""When an answer carries it, and what it says."""

REFUSALS: dict[str, str] = {
    "budget_held": "it fits the budget, but not beside what other requests hold until their answers end; "
    "`error.details.bound` names the bound (status 429, `retry-after`)",
    "monthly_budget_exceeded": "it does not fit the team's month",
    "daily_budget_exceeded": "it does not fit `dailyBudgetUSD`",
    "spend_rate_exceeded": "it does not fit `maxUSDPerHour`",
    "model_budget_exceeded": "it does not fit `maxMonthlyUSD` of the models that a pattern matches",
    "app_budget_exceeded": "it does not fit the app's `maxMonthlyUSD`",
    "run_budget_exceeded": "it does not fit `maxUSDPerRun`",
    "limit_exceeded": "it does not fit one of the `limits` of the budget or of a group; `error.details.limit` has "
    "whose it is and its numbers",
    "group_budget_exceeded": "it does not fit the budget of a group of the team; `error.details.group` names it",
    "loop_detected": "its run has sent the same messages to the same model as often as `repeats` lets it",
    "request_cost_exceeded": "its estimate is above `maxUSDPerRequest`",
    "app_not_allowed_for_model": "the app is not among `allowedApps` of the model's pattern",
    "unpriced_model": "the model has no price, and the budget says `unpricedModels: reject`",
    "unbudgeted": "the team has no budget, and the setting `unbudgeted` is `reject`; or the only one written for it "
    "may not bind",
    "ledger_unavailable": "the ledger does not answer, and the allowance for that is used up",
    "too_busy": "the gateway reads as much as it can at once (`max_inflight_bytes`), or is behind; status 503",
    "websocket_refused": "it asks for a WebSocket, whose traffic cannot be metered, and the API is there over HTTP, "
    "too (status 426; setting `websockets`)",
    "unreadable_request": "it cannot be read, and the setting `unreadable` is `reject`",
    "unknown_api": "no dialect can meter the call, and the budget says `unknownApis: reject`; or says nothing, and "
    "it is for a known provider, or the kin of a metered call",
}
"""Reasons of refusals: the request was refused because …"""

ANSWERS: dict[str, str] = {
    "within_budget": "as asked",
    "no_budget_defined": "as asked; the team has no budget and is metered only",
    "simple_query": "to `cheapModel`: fewer input tokens than `complexityThreshold`",
    "complex_query": "to `expensiveModel`",
    "budget_pressure": "to a cheaper model: a threshold was reached",
    "required_model": "as `x-require-model` says",
}
"""Reasons of answers: the request was sent …"""

OUTCOMES: dict[Outcome, str] = {
    Outcome.COMPLETE: "the answer's own end, or its last usage, was seen",
    Outcome.ABORTED: "the client left; billed for what was streamed, or at its hold where more may be billed",
    Outcome.FAILED: "the provider answered an error before any output (cost 0), or cut it (billed for what flowed)",
    Outcome.REFUSED: "by a budget; cost 0",
    Outcome.UNMETERED: "the usage could not be read; charged at the estimate",
}
"""How an exchange ended, as the usage log says it."""
