"""The gateway's counters and histograms. Gauges of budgets are read from the ledger at the scrape, elsewhere.

Several worker processes share one scrape through prometheus_client's multiprocess files, which also keep
what a killed worker had counted. Labels are bounded by `max_label_values`: see gateway/labels.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spendgate.exchange import events as e
from spendgate.gateway.histograms import SummedHistogram
from spendgate.gateway.labels import OTHER, SpendLabels
from spendgate.money import NANO_PER_USD
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult
from spendgate.usage import KINDS

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
PRICE_VERSIONS_MAX = 50

ROUTED = ("simple_query", "complex_query", "budget_pressure")
"""Why a request goes to another model (rules 3 and 4)."""

_Add = Callable[..., None]
"""(counter, labels, amount: 1)"""
_Sums = dict[tuple[Counter, tuple[str, ...]], float]


class Metrics:
    """All counters of one process. `max_series`: combinations of labels that are kept apart."""

    def __init__(self, registry: CollectorRegistry, max_series: int = 2000) -> None:
        self.spend_labels = SpendLabels(max_series)
        spend = ["team", "app", "model"]
        self.cost = Counter("llm_cost_usd_total", "Settled cost in USD.", spend, registry=registry)
        self.estimate = Counter(
            "llm_cost_estimate_usd_total", "Estimates before the request, in USD.", spend, registry=registry
        )
        self.rejected = Counter(
            "llm_requests_rejected_budget_total",
            "Requests refused by a budget.",
            ["team", "reason"],
            registry=registry,
        )
        self.routed = Counter(
            "llm_model_routing_total", "Requests sent to another model.", ["reason"], registry=registry
        )
        for reason in ROUTED:
            self.routed.labels(reason)  # there from the first scrape, so that no first event is lost
        self.requests = Counter(
            "spendgate_requests_total",
            "Settled exchanges, as the ledger counts them.",
            spend,
            registry=registry,
        )
        self.refused = Counter("spendgate_refused_total", "Refused requests.", spend, registry=registry)
        self.saved = Counter(
            "spendgate_routing_saved_usd_total",
            "What cheaper models than those asked for saved, in USD, at the same tokens.",
            spend,
            registry=registry,
        )
        self.added = Counter(
            "spendgate_routing_added_usd_total",
            "What dearer models than those asked for cost more, in USD, at the same tokens.",
            spend,
            registry=registry,
        )
        self.corrected = Counter(
            "spendgate_corrected_requests_total",
            "Exchanges counted twice: when their hold expired, and at their end. The ledger has them once.",
            spend,
            registry=registry,
        )
        self.corrected_usd = Counter(
            "spendgate_corrected_usd_total",
            "What they were charged when their hold expired, in USD: to be taken off llm_cost_usd_total.",
            spend,
            registry=registry,
        )
        self.tokens = Counter(
            "spendgate_tokens_total", "Metered tokens by kind.", [*spend, "kind"], registry=registry
        )
        self.exchanges = Counter(
            "spendgate_exchanges_total", "Exchanges by outcome.", ["outcome"], registry=registry
        )
        self.unmetered = Counter(
            "spendgate_unmetered_total",
            "Answers settled at the estimate, by why.",
            ["reason"],
            registry=registry,
        )
        self.unmetered_usd = Counter(
            "spendgate_unmetered_usd_total",
            "What was charged without having been metered, in USD, by why.",
            ["team", "reason"],
            registry=registry,
        )
        self.expired = Counter(
            "spendgate_holds_expired_total",
            "Holds that nobody settled in time, charged at their estimate.",
            ["team"],
            registry=registry,
        )
        self.unpriced = Counter(
            "spendgate_unpriced_requests_total",
            "Requests of which the model, a kind of usage or the service tier has no price.",
            ["model"],
            registry=registry,
        )
        self.catalogue_checked = Gauge(
            "spendgate_price_catalogue_checked_timestamp_seconds",
            "When the sources of the built-in prices were last looked at, Unix time.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.price_table = Gauge(
            "spendgate_price_table_workers",
            "Workers that price by this table; `version` is the price_version of usage records.",
            ["version"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._price_versions: list[str] = []
        self.fail_open = Counter(
            "spendgate_fail_open_total",
            "Requests let pass while the ledger did not answer.",
            ["team"],
            registry=registry,
        )
        self.kept = Counter(
            "spendgate_downgrade_kept_total",
            "Wanted downgrades that did not happen, by why.",
            ["reason"],
            registry=registry,
        )
        self.passed = Counter("spendgate_passed_total", "Requests that no dialect claims.", registry=registry)
        self.access_logs = Counter(
            "spendgate_access_log_entries_total",
            "Access log entries that settle ext_authz and lean routes, by outcome; `other`: not ours to settle.",
            ["outcome"],
            registry=registry,
        )
        self.flagged = Counter(
            "spendgate_flagged_total",
            "Settled exchanges with something odd: `usage_mismatch` (the provider's total is not the sum of its "
            "parts; the larger was charged).",
            ["flag", "model"],
            registry=registry,
        )
        self.refused_usd = Counter(
            "spendgate_refused_usd_total",
            "Estimates of refused requests, in USD; a call that an SDK repeats counts once.",
            ["team", "reason"],
            registry=registry,
        )
        self.refused_calls = Counter(
            "spendgate_refused_calls_total",
            "Refused calls, a call that an SDK repeats once; `spendgate_refused_total` has each try.",
            ["team", "reason"],
            registry=registry,
        )
        self.unknown_api = Counter(
            "spendgate_unknown_api_requests_total",
            "Requests that may cost money and that no dialect claims: `pass` or `reject` (unknownApis).",
            ["team", "action"],
            registry=registry,
        )
        self.handovers = Counter(
            "spendgate_handovers_total",
            "Calls that two gateways saw and that count at the last: `given` by the first, `taken` by the last; "
            "`refused`: metered in full, since the word was forged, copied, late or of another request.",
            ["result"],
            registry=registry,
        )
        self.websockets = Counter(
            "spendgate_websockets_total",
            "WebSockets, which nobody here can look into: `pass`, or `reject` where the API is there over HTTP, too.",
            ["team", "action"],
            registry=registry,
        )
        self.errors = Counter(
            "spendgate_internal_errors_total", "Faults of ours; traffic passed.", registry=registry
        )
        self.hung = Counter(
            "spendgate_hung_workers_total",
            "Workers that were killed and replaced because their event loop stood still.",
            registry=registry,
        )
        self.reload_errors = Counter(
            "spendgate_policy_reload_errors_total",
            "Reloads of policy or prices that were refused; the last valid ones stay in force.",
            registry=registry,
        )
        self.lost = Counter(
            "spendgate_usage_log_errors_total", "Usage lines that could not be written.", registry=registry
        )
        self.otlp_dropped = Counter(
            "spendgate_otlp_dropped_total",
            "Usage lines that the OpenTelemetry collector did not take; the usage log has them.",
            registry=registry,
        )
        self.decided = SummedHistogram(
            "spendgate_decision_seconds",
            "From the request's body to the decision, the reservation included.",
            buckets=_FAST,
            registry=registry,
        )
        self.reserved = SummedHistogram(
            "spendgate_ledger_reserve_seconds", "One reservation.", buckets=_FAST, registry=registry
        )
        self.settled = Histogram(
            "spendgate_ledger_settle_seconds", "One batch of settlements.", buckets=_FAST, registry=registry
        )
        self.ledger_failures = Counter(
            "spendgate_ledger_failures_total",
            "Calls that the ledger did not answer.",
            ["verb"],
            registry=registry,
        )
        self.fail_open_usd = Counter(
            "spendgate_fail_open_usd_total",
            "Estimates of requests let pass while the ledger did not answer.",
            ["team"],
            registry=registry,
        )
        self.fail_closed = Counter(
            "spendgate_fail_closed_total",
            "Requests refused while the ledger did not answer: the replica's share was used up.",
            ["team"],
            registry=registry,
        )
        self.spool_failures = Counter(
            "spendgate_spool_failures_total",
            "Batches that local disk did not take either (full?); they wait in memory.",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "spendgate_spool_bytes",
            "Bytes of the spool on local disk; a worker's file is full at 256 MiB.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.spool_corrupt = Gauge(
            "spendgate_spool_corrupt_lines",
            "Lines of the spool that could not be read; they stand in a .bad file beside it.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ledger_lost = Counter(
            "spendgate_worker_ledger_lost_total",
            "Times a worker noticed that the ledger had lost what it had been told.",
            registry=registry,
        )
        self.open_calls = Gauge(
            "spendgate_open_exchanges",
            "Exchanges in flight.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.inflight_bytes = Gauge(
            "spendgate_inflight_bytes",
            "LLM request bodies announced or being read, in bytes; above max_inflight_bytes a worker: too_busy.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.learned_ratio = Gauge(
            "spendgate_holds_learned_ratio",
            "What the team's last learned hold was of its worst case.",
            ["team"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.spool_depth = Gauge(
            "spendgate_spool_depth",
            "Settlements that wait on local disk for the ledger.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def flush(self) -> None:
        """Let the next scrape see what was added up."""
        for summed in (self.decided, self.reserved):
            summed.flush()

    def priced_by(self, version: str, checked_ms: int) -> None:
        """Note the price table in force; past `PRICE_VERSIONS_MAX` reloads a version is only `other`."""
        if version not in self._price_versions:
            if len(self._price_versions) >= PRICE_VERSIONS_MAX:
                version = OTHER
            self._price_versions.append(version)
        for known in set(self._price_versions):
            self.price_table.labels(known).set(known == version)
        self.catalogue_checked.set(checked_ms / 1000)

    def labels(self, team: str, app: str, model: str) -> tuple[str, str, str]:
        """Bound the label values: a new combination past the limit counts as `other`."""
        return self.spend_labels.of(team, app, model)

    def team_label(self, team: str) -> str:
        """A team's name as a label: one that was counted before, or one that still has room."""
        return self.labels(team, OTHER, OTHER)[0]

    def count_refused_call(self, ending: ExchangeResult) -> None:
        """Count the money of a refused call that was not counted before."""
        labels = (self.team_label(ending.record.team), ending.record.reason)
        self.refused_calls.labels(*labels).inc()
        self.refused_usd.labels(*labels).inc(ending.notes.refused_nanousd / NANO_PER_USD)

    def count_unclaimed(self, team: str, action: e.Action) -> None:
        """Count what a request's headers show to be of an unknown API or a WebSocket: let pass, or refused."""
        self.count_unknown(team, action)
        match action:
            case e.Pass(websocket=True):
                self.websockets.labels(self.team_label(team), "pass").inc()
            case e.Reject(reason=e.WEBSOCKET_REFUSED):
                self.websockets.labels(self.team_label(team), "reject").inc()
                self.rejected.labels(self.team_label(team), e.WEBSOCKET_REFUSED).inc()
            case e.Reject(reason=e.UNKNOWN_API):
                self.rejected.labels(self.team_label(team), e.UNKNOWN_API).inc()

    def count_unknown(self, team: str, action: e.Action) -> None:
        """Count a request of an unknown API; by its body, it calls a tool without a price. Where that is refused, its
        ending counts the refusal."""
        match action:
            case e.Pass(unknown=True, websocket=False) | e.Forward(unknown=True):
                self.unknown_api.labels(self.team_label(team), "pass").inc()
            case e.Reject(reason=e.UNKNOWN_API):
                self.unknown_api.labels(self.team_label(team), "reject").inc()

    def count_busy(self, team: str) -> None:
        """Count a request that there was no room or time for."""
        self.rejected.labels(self.team_label(team), e.TOO_BUSY).inc()

    def count(self, ending: ExchangeResult) -> None:
        """Count one exchange that ended."""
        self.count_all([(ending, False)])

    def count_all(self, endings: Iterable[tuple[ExchangeResult, bool]]) -> None:
        """Count exchanges that ended, after their settlements are safe (in the ledger, or on disk): added up first,
        since a batch has few teams and models, and each addition to a shared file is dear. True: its hold had expired
        and was counted then, at what was held; the ledger took that back."""
        sums: _Sums = {}
        for ending, corrected in endings:
            self._count(sums, ending, corrected)
        for (counter, labels), amount in sums.items():
            counter.labels(*labels).inc(amount)

    def _count(self, sums: _Sums, ending: ExchangeResult, corrected: bool) -> None:
        def add(counter: Counter, labels: tuple[str, ...], amount: float = 1) -> None:
            key = (counter, labels)
            sums[key] = sums.get(key, 0) + amount

        r, notes = ending.record, ending.notes
        spend = self.labels(r.team, r.app, r.model)
        team, _, model = spend
        add(self.exchanges, (r.outcome.value,))
        if notes.unpriced:
            add(self.unpriced, (model,))
        if r.outcome is Outcome.REFUSED:
            add(self.rejected, (team, r.reason))
            add(self.refused, spend)
            return
        charged = ending.settlement is not None and not ending.settlement.release
        if charged or notes.unmetered == "expired":
            add(self.requests, spend)
        if corrected:
            add(self.corrected, spend)
            add(self.corrected_usd, spend, ending.held_nanousd / NANO_PER_USD)
        if r.saved_nanousd > 0:
            add(self.saved, spend, r.saved_nanousd / NANO_PER_USD)
        elif r.saved_nanousd < 0:
            add(self.added, spend, -r.saved_nanousd / NANO_PER_USD)
        add(self.cost, spend, r.cost_nanousd / NANO_PER_USD)
        add(self.estimate, spend, ending.held_nanousd / NANO_PER_USD)
        for kind, n in r.tokens.items():
            if kind in KINDS:
                add(self.tokens, (*spend, kind), n)
        if r.decision in ("route", "downgrade"):
            add(self.routed, (r.reason,))
        self._count_notes(add, ending, team, model)

    def _count_notes(self, add: _Add, ending: ExchangeResult, team: str, model: str) -> None:
        """What was out of the ordinary."""
        notes = ending.notes
        if notes.unmetered:
            add(self.unmetered, (notes.unmetered,))
            usd = ending.record.cost_nanousd / NANO_PER_USD
            add(self.unmetered_usd, (team, notes.unmetered), usd)
        if notes.unmetered == "expired":
            add(self.expired, (team,))
        if notes.fail_open:
            add(self.fail_open, (team,))
        for flag in notes.flags:
            add(self.flagged, (flag, model))
        if notes.kept_because:
            add(self.kept, (notes.kept_because,))
