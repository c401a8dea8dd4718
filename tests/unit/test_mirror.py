"""The tests of a module are found by its name: `spendgate/a/b.py` has `tests/unit/a/test_b.py`, or `test_b_….py`.

What has none is listed here with the place of its tests. The list is to become shorter: a new module has tests of its
own name, and where a file of tests is about one module of a line here, it takes its name.
"""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "spendgate"
LINES_MAX = 400
ENTRIES_MAX = 16
ELSEWHERE = [
    ("", "children", "integration/supervisor"),
    ("", "errors", "unit/budget/test_load.py"),
    ("", "usage", "unit/dialects/openai/test_usage.py"),
    ("", "durations", "unit/settings/test_config.py"),
    ("alerts", "reports spend watcher", "integration/alerts"),
    ("alerts", "limit_alerts limit_thresholds", "integration/alerts/test_limits.py"),
    ("alerts", "apprise_sender compose courier environment", "integration/alerts/test_up.py"),
    ("alerts", "claims memory post sender slack", "unit/alerts/test_delivery.py"),
    ("alerts", "alert", "unit/alerts/test_message.py"),
    ("budget", "waiting", "conformance/test_held_budgets.py"),
    ("budget", "limit_rules", "conformance/test_limits.py"),
    ("budget", "phase", "unit/alerts/test_delivery.py"),
    ("budget", "faults", "unit/budget/test_load.py"),
    ("budget", "checks compile document model yaml_lines", "unit/budget/test_policy.py"),
    ("budget", "bounds decide patterns", "unit/budget/test_rules.py"),
    ("budget", "ask", "unit/exchange/test_more_apis.py"),
    ("budget", "limits", "unit/exchange/test_own_budget.py"),
    ("cli", "main options run serve up", "conformance"),
    ("cli", "budget budgets digest", "integration/alerts"),
    ("cli", "doctor", "integration/doctor"),
    ("cli", "backfill export reconcile_invoice report true_ups", "integration/finops"),
    ("cli", "controller webhook", "integration/kube"),
    ("cli", "find_ledger holds ledger month month_archive policy_at_hand spend", "integration/ledger"),
    ("cli", "mock_provider", "integration/mock"),
    ("cli", "propose", "integration/proposals"),
    ("cli", "reconcile", "integration/rebuild"),
    ("cli", "render", "unit/envoy/test_mesh.py"),
    ("cli", "chargeback_table", "unit/finops/chargeback/test_chargeback.py"),
    ("cli", "simulate", "unit/finops/simulation/test_simulate_command.py"),
    ("cli", "prices_unknown", "unit/finops/test_unknown_prices.py"),
    ("cli", "log", "unit/records/test_tail.py"),
    ("console", "asking books downloads finance headers mirror pages signing site slack", "integration/console"),
    ("console", "spending teams totals web", "integration/console"),
    ("console", "figures", "integration/console/test_figures.py"),
    ("console", "settings", "unit/console/test_access.py"),
    ("console", "axes burnup trend", "unit/console/test_charts.py"),
    ("controller", "controller heap local policy_map status_loop web webhook_server", "integration/kube"),
    ("controller", "publisher", "unit/controller/test_ownership.py"),
    ("controller", "gauges metrics", "unit/controller/test_scrape.py"),
    ("controller", "conditions", "unit/controller/test_status.py"),
    ("controller/kube", "leader", "integration/kube"),
    ("controller/kube", "client", "unit/controller/kube/test_informer.py"),
    ("dialects", "base json_api", "unit/dialects/test_every_dialect.py"),
    ("dialects/anthropic", "request stream usage", "unit/dialects/anthropic/test_messages.py"),
    ("dialects/bedrock", "api converse_request converse_stream", "unit/dialects/bedrock/test_converse.py"),
    ("dialects/bedrock", "converse_usage", "unit/dialects/bedrock/test_converse.py"),
    ("dialects/bedrock", "guardrails invoke_request invoke_stream", "unit/dialects/bedrock/test_invoke.py"),
    ("dialects/bedrock", "invoke_usage", "unit/dialects/bedrock/test_invoke.py"),
    ("dialects/cohere", "request stream usage", "unit/dialects/cohere/test_chat.py"),
    ("dialects/cohere", "chat_v1", "unit/dialects/cohere/test_embed_rerank.py"),
    ("dialects/gemini", "interactions interactions_usage", "unit/dialects/gemini/test_embeddings.py"),
    ("dialects/gemini", "request stream usage", "unit/dialects/gemini/test_generate.py"),
    ("dialects/mcp", "stream", "unit/dialects/mcp/test_tools.py"),
    ("dialects/mistral", "usage", "unit/dialects/test_usage_fields.py"),
    ("dialects/mistral", "conversations", "unit/exchange/test_billing.py"),
    ("dialects/ollama", "usage", "unit/dialects/ollama/test_dialect.py"),
    ("dialects/openai", "embeddings", "unit/dialects/openai/test_completions.py"),
    ("dialects/openai", "responses_request responses_stream", "unit/dialects/openai/test_responses.py"),
    ("dialects/openai", "responses_usage", "unit/dialects/openai/test_responses.py"),
    ("dialects/openai", "media_usage", "unit/dialects/openai_media/test_media.py"),
    ("dialects/openai", "vertex_publishers", "unit/dialects/request/test_paths.py"),
    ("dialects/openai", "chat", "unit/exchange/test_billing.py"),
    ("dialects/openai", "moderations", "unit/exchange/test_more_apis.py"),
    ("dialects/openai_media", "audio audio_length form_api images", "unit/dialects/openai_media/test_media.py"),
    ("dialects/openai_media", "stream", "unit/dialects/openai_media/test_media.py"),
    ("dialects/request", "rewriting", "unit/dialects/request/test_fallbacks.py"),
    ("dialects/request", "forms hosted reranks texts", "unit/dialects/request/test_readable.py"),
    ("dialects/request", "switches", "unit/exchange/test_more_apis.py"),
    ("dialects/response", "visible", "unit/dialects/ollama/test_dialect.py"),
    ("dialects/response", "event_filter", "unit/dialects/openai/test_stream.py"),
    ("dialects/response", "meters", "unit/dialects/test_every_dialect.py"),
    ("dialects/response", "counts header_usage told_cost", "unit/dialects/test_usage_fields.py"),
    ("dialects/wire", "eventstream", "unit/dialects/bedrock/test_converse.py"),
    ("dialects/wire", "multipart", "unit/dialects/openai_media/test_media.py"),
    ("dialects/wire", "charsets json_read loose numbers", "unit/dialects/request/test_readable.py"),
    ("dialects/wire", "traits", "unit/dialects/test_usage_fields.py"),
    ("doctor", "examine finding", "integration/doctor"),
    ("doctor", "envoy_dump envoy_filters envoy_routes envoy_ways", "unit/doctor/test_envoy.py"),
    ("envoy", "istio_keys", "integration/supervisor/test_istio_keys.py"),
    ("envoy", "listener parts routes upstreams", "unit/envoy/test_bootstrap.py"),
    ("envoy", "ext_authz mtls stats", "unit/envoy/test_folder.py"),
    ("envoy", "envoy_gateway istio processor", "unit/envoy/test_mesh.py"),
    ("exchange", "quote", "unit/exchange/test_estimates_are_bounds.py"),
    ("exchange", "admission events request_facts states", "unit/exchange/test_exchange.py"),
    ("exchange", "stream_options", "unit/exchange/test_learned.py"),
    ("exchange", "unknown_apis untold_cost", "unit/exchange/test_more_apis.py"),
    ("exchange", "snapshot", "unit/exchange/test_priced_terms.py"),
    ("exchange", "view", "unit/gateway/adapters/test_ext_proc.py"),
    ("exchange", "handover", "unit/identity/test_credential.py"),
    ("exchange", "rejections", "unit/settings/test_reject_status.py"),
    ("finops", "replay", "unit/finops/test_markups.py"),
    ("finops/chargeback", "from_prometheus", "integration/finops/test_prometheus_source.py"),
    ("finops/chargeback", "archive closed_month", "integration/ledger/test_closed_month.py"),
    ("finops/chargeback", "charts html render", "unit/finops/chargeback/test_chargeback.py"),
    ("finops/chargeback", "focus_columns focus_files", "unit/finops/chargeback/test_focus.py"),
    ("finops/chargeback", "differences", "unit/finops/test_log_cells.py"),
    ("finops/invoice", "focus numbers opened openrouter source table", "unit/finops/invoice/test_dress.py"),
    ("finops/invoice", "anthropic azure bedrock collect days google line", "unit/finops/invoice/test_readers.py"),
    ("finops/invoice", "mapped openai registry units", "unit/finops/invoice/test_readers.py"),
    ("finops/reconciliation", "render", "integration/finops/test_reconcile_invoice.py"),
    ("finops/reconciliation", "causes matching", "unit/finops/reconciliation/test_reconcile.py"),
    ("finops/reconciliation", "log_evidence", "unit/finops/test_markups.py"),
    ("finops/simulation", "counted logged_request plan_cache", "unit/finops/simulation/test_simulate.py"),
    ("finops/simulation", "render", "unit/finops/simulation/test_simulate_command.py"),
    ("gateway", "own_budget_read", "conformance/test_held_budgets.py"),
    ("gateway", "durations relay", "unit/gateway/adapters/test_ext_proc.py"),
    ("gateway", "histograms", "unit/gateway/test_metrics.py"),
    ("gateway", "log_throttle", "unit/gateway/test_runtime.py"),
    ("gateway", "rejection_counter", "unit/gateway/test_settler.py"),
    ("gateway/adapters", "slices", "conformance/test_many_streams.py"),
    ("gateway/adapters", "wire_form", "unit/gateway/adapters/test_codec.py"),
    ("gateway/adapters", "ext_proc_call lenient", "unit/gateway/adapters/test_faults.py"),
    ("gateway/process", "reload serving", "conformance"),
    ("gateway/process", "heartbeat", "faults"),
    ("gateway/process", "learned_file", "unit/exchange/test_learned.py"),
    ("gateway/process", "leaving", "unit/gateway/adapters/test_ext_proc.py"),
    ("identity", "headers", "unit/gateway/adapters/test_codec.py"),
    ("identity", "key_file", "unit/identity/test_api_keys.py"),
    ("identity", "extractors", "unit/identity/test_identity.py"),
    ("ledger", "accounting accounts drift exchanges port redis_ledger", "integration/ledger"),
    ("ledger/recovery", "checkpoint checkpointer heartbeat", "integration/ledger/test_loss.py"),
    ("ledger/redis", "*", "integration/ledger"),
    ("ledger/spool", "journal", "unit/ledger/spool/test_spool.py"),
    ("migration", "drafts values", "unit/migration/test_litellm.py"),
    ("mock", "*", "integration/mock"),
    ("monitoring", "budget_alerts catalogue gateway_alerts ledger_alerts policy_alerts", "integration/monitoring"),
    ("monitoring", "rules", "integration/monitoring"),
    ("monitoring", "chargeback operations operations_state panels queries", "unit/monitoring/test_dashboards.py"),
    ("monitoring", "recorded", "unit/monitoring/test_dashboards.py"),
    ("policy", "month_budgets", "integration/ledger/test_closed_month.py"),
    ("policy", "source store", "integration/ledger/test_policy_store.py"),
    ("pricing", "listing", "unit/cli/test_prices.py"),
    ("pricing", "names", "unit/pricing/test_aliases.py"),
    ("pricing", "parse reader", "unit/pricing/test_load.py"),
    ("proposals", "comment forges propose repository", "integration/proposals"),
    ("rebuild", "*", "integration/rebuild"),
    ("records", "otlp_exporter", "integration/finops/test_otlp.py"),
    ("records", "outcome", "unit/exchange/test_ends.py"),
    ("records", "columns", "unit/records/test_record.py"),
    ("records", "rotation", "unit/records/test_writer.py"),
    ("dialects/openai", "model_traits", "unit/dialects/openai/test_plain_requests.py"),
    ("envoy", "access_logs", "unit/envoy/test_bootstrap.py"),
    ("gateway/adapters", "ends line", "unit/gateway/adapters/test_ext_proc.py"),
    ("rpc", "server servicer turns", "integration/rpc/test_server.py"),
    ("rpc", "call h2_engine load ngh2_engine status", "unit/rpc/test_connection.py"),
    ("rpc", "first_call limits", "unit/rpc/test_engine_hostile_peers.py"),
    ("settings", "logs", "integration/supervisor"),
    ("settings", "identity", "unit/identity/test_identity.py"),
    ("settings", "upstreams", "unit/settings/test_config.py"),
    ("settings", "agents", "unit/settings/test_reject_status.py"),
    ("supervisor", "admin alerting draining health replica state supervisor sweeper", "integration/supervisor"),
    ("supervisor", "processes", "unit/supervisor/test_watchdog.py"),
    ("views", "bounds glossary", "integration/console"),
    ("views", "past", "integration/ledger/test_closed_month.py"),
    ("views", "status_row", "unit/alerts/test_delivery.py"),
    ("views", "explain", "unit/cli/test_explain.py"),
    ("views", "coverage", "unit/cli/test_prices.py"),
]  # fmt: skip
"""(folder, its modules; * is each without tests of its name; where their tests are)"""


def modules() -> dict[str, list[str]]:
    """Folder -> modules."""
    found: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if not path.stem.startswith("__") and not path.stem.endswith("_pb2"):
            folder = path.parent.relative_to(SOURCE).as_posix()
            found.setdefault("" if folder == "." else folder, []).append(path.stem)
    return found


def has_tests(folder: str, module: str) -> bool:
    """Are tests found by its name?"""
    here = TESTS / "unit" / folder
    return (here / f"test_{module}.py").exists() or any(here.glob(f"test_{module}_*.py"))


def test_the_tests_of_each_module_are_found_by_its_name_or_listed() -> None:
    listed = {(folder, name) for folder, names, _ in ELSEWHERE for name in names.split()}
    lost = [
        f"{folder}/{module}"
        for folder, names in modules().items()
        for module in names
        if not has_tests(folder, module) and not {(folder, module), (folder, "*")} & listed
    ]
    assert lost == [], "name its tests test_<module>.py in the same folder of tests/unit"


def test_what_is_listed_is_so() -> None:
    there = modules()
    named = [(folder, name) for folder, names, _ in ELSEWHERE for name in names.split() if name != "*"]
    assert [x for x in named if x[1] not in there[x[0]]] == [], "there are no such modules"
    assert [x for x in named if has_tests(*x)] == [], "their tests are found by name: take them off the list"
    places = [TESTS / place for _, _, place in ELSEWHERE]
    assert [p for p in places if not p.is_file() and not any(p.glob("test_*.py"))] == [], "no tests are there"


def test_nothing_is_listed_twice() -> None:
    listed = [(folder, name) for folder, names, _ in ELSEWHERE for name in names.split()]
    assert len(listed) == len(set(listed))


def test_a_module_is_read_without_a_search() -> None:
    """What CONTRIBUTING says of its length; and a folder of dialects, or of the gateway, at a glance."""
    lines = {p.relative_to(SOURCE).as_posix(): len(p.read_text().splitlines()) for p in SOURCE.rglob("*.py")}
    assert {name: n for name, n in lines.items() if n > LINES_MAX and not name.endswith("_pb2.py")} == {}
    for room in ("dialects", "gateway"):
        folders = [SOURCE / room, *(p for p in (SOURCE / room).rglob("*") if p.is_dir())]
        entries = {p.name: sum(x.name != "__pycache__" for x in p.iterdir()) for p in folders}
        assert {name: n for name, n in entries.items() if n > ENTRIES_MAX} == {}
