"""Write the reference pages that are read off the code:
docs/reference/{cli,settings,metrics,llmbudget,headers-and-reasons}.md. Then monitoring, k8s, the chart and the image's
packages are written too (build_monitoring.py, build_k8s.py, build_chart.py, build_requirements.py).

    .venv/bin/python scripts/build_docs.py

A test builds them anew and compares, so that a page never says what the code does not do.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import click
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spendgate.budget import model as budget
from spendgate.budget.policy import Policy
from spendgate.cli.main import COMMANDS, spendgate
from spendgate.controller.metrics import ControllerMetrics, Vitals
from spendgate.gateway.metrics import Metrics
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.policy.source import PolicyMetrics
from spendgate.rebuild.job import RebuildJob
from spendgate.settings import config
from spendgate.supervisor.envoy_counters import EnvoyCounters
from spendgate.supervisor.replica import Replica
from spendgate.views import glossary as words
from spendgate.views.gauges import COPY, BudgetGauges

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
VITALS_BY_LABEL = ("calls", "status_errors", "alerts", "faulty")
NOTE = "<!-- Written by scripts/build_docs.py; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {name: NOTE + text for name, text in _pages()}


def _pages() -> Iterator[tuple[str, str]]:
    yield "cli.md", cli()
    yield "settings.md", settings()
    yield "metrics.md", metrics()
    yield "llmbudget.md", llmbudget()
    yield "headers-and-reasons.md", headers_and_reasons()


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines) + "\n"


# -- headers and reasons ----------------------------------------------------------------------------------


def headers_and_reasons() -> str:
    """What requests and answers carry, and why a request was refused or moved (`views/glossary.py`)."""

    def named(words: Mapping[str, str]) -> list[tuple[str, ...]]:
        return [(", ".join(f"`{n}`" for n in name.split(", ")), meaning) for name, meaning in words.items()]

    parts = [
        "# Headers and reasons",
        "## Request headers",
        table(("header", "meaning"), named(words.REQUEST_HEADERS)),
        REQUEST_NOTE,
        "## Response headers",
        table(
            ("header", "when", "meaning"),
            [(f"`{name}`", when, meaning) for name, (when, meaning) in words.RESPONSE_HEADERS.items()],
        ),
        RESPONSE_NOTE,
        "## Reasons of refusals",
        REFUSAL_NOTE,
        table(("reason", "the request was refused because"), named(words.REFUSALS)),
        OTHER_REFUSALS,
        "## Reasons of answers",
        table(("reason", "the request was sent"), named(words.ANSWERS)),
        "## Outcomes in the usage log",
        table(("outcome", "meaning"), named({o.value: text for o, text in words.OUTCOMES.items()})),
        OUTCOME_NOTE,
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


REQUEST_NOTE = """\
Whatever a client sends under `x-spendgate-…`, `x-budget-…` or `x-model-downgraded` is taken off. So is all that begins
with `x-envoy-`, by which Envoy's router could be told to retry, to hedge or to give up (several bills for one call),
and `x-forwarded-client-cert`: no provider learns whose certificate called. That an AWS SDK signed such a header does
not keep it."""
RESPONSE_NOTE = """`x-spendgate-cluster` chooses the upstream inside Envoy; it never enters or leaves."""
REFUSAL_NOTE = """\
Status 429 (403 for `app_not_allowed_for_model` and `unknown_api`), or what the setting `reject_status` or the shipped
table of agents says for the client (see SDKs and refusals); the body in the dialect's own error shape with
`error.type: "budget_exceeded"`, `error.code` the reason, and the numbers in `error.details`."""
OTHER_REFUSALS = """A body above `max_body_bytes` gets 413 with the code `request_too_large`.
So does one that Envoy refuses by a lower limit of its own; the message says which of the two it was.
Where the setting `passthrough` asks for it, a caller whom no source of identity knows gets 401 with the code
`unidentified` on paths that no dialect claims."""
OUTCOME_NOTE = """\
Why an exchange was `unmetered`, also the label of `spendgate_unmetered_total`: `no_usage`, `bad_usage`,
`not_json`, `truncated`, `encoding`, `too_large`, `content_type`, `empty`, `deferred` (an answer that comes later),
`body_unseen` (ext_authz), `expired`, `internal_error`, `aborted` (the client left), `attempts` (Envoy gave up after
it was sent, or [sent it more than once](../explanation/attempts.md)), `drained` (the gateway stopped), `late` (Envoy
did not wait for us). [How a call ends](ends.md) has them all."""


# -- commands ---------------------------------------------------------------------------------------------


def cli() -> str:
    """Commands, their options and examples."""
    root = click.Context(spendgate, info_name="spendgate")
    out = [
        "# Commands\n\nErrors are one line on stderr that says what to do. Exit codes: 0 done, 1 failure, "
        "2 wrong usage.\n"
    ]
    for name in COMMANDS:
        found = spendgate.get_command(root, name)
        assert found is not None
        out += _command(found, f"spendgate {name}")
    return "\n".join(out)


def _command(command: click.Command, path: str) -> Iterator[str]:
    yield f"## {path}\n\n{_help(command.help or '')}\n"
    rows = [_option(p) for p in command.params if not getattr(p, "hidden", False)]
    if rows:
        yield table(("option", "default", "environment", "meaning"), rows)
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _command(found, f"{path} {name}")


def _help(text: str) -> str:
    """A docstring as Markdown; blocks that click must not wrap (\\b) become code."""
    out = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            lines = block.removeprefix("\b").strip("\n")
            out.append(f"```text\n{inspect.cleandoc(lines)}\n```")
        else:
            out.append(block)
    return "\n\n".join(out)


def _option(param: click.Parameter) -> tuple[str, ...]:
    if isinstance(param, click.Argument):
        name = param.human_readable_name.rstrip("…")
        return (
            f"`{name}…`" if param.nargs < 0 else f"`{name}`",
            "required" if param.required else "",
            "",
            "",
        )
    assert isinstance(param, click.Option)
    kind = param.type
    if param.is_flag:
        value = ""
    elif isinstance(kind, click.Choice):
        value = " " + "\\|".join(map(str, kind.choices))
    elif isinstance(kind, click.IntRange):
        value = f" {kind.min}..{kind.max}"
    else:
        value = f" {param.metavar or kind.name.upper()}"
    names = ", ".join(f"`{o}{value}`".replace("\\|", "|") for o in param.opts)
    default = param.default if isinstance(param.default, str | int) and not param.is_flag else ""
    shown = f"`{default}`" if default != "" else "required" if param.required else ""
    env = param.envvar or []
    variables = " ".join(f"`{v}`" for v in ([env] if isinstance(env, str) else env))
    text = re.sub(r"\s*\[env: .*?\]", "", param.help or "")
    return (names + (" (repeatable)" if param.multiple else ""), shown, variables, text)


# -- settings ---------------------------------------------------------------------------------------------


def settings() -> str:
    """The settings file."""
    rows = [
        (f"`{name}`", _setting_type(f), _setting_default(f), f.description or "")
        for name, f in config.Settings.model_fields.items()
    ]
    out = [
        "# Settings\n\nA YAML file given to `--config`, one `setting: value` a line. Each can also be given as "
        "the environment\nvariable `SPENDGATE_<SETTING>` (`SPENDGATE_RESERVATION_TTL=5s`), which wins; lists are "
        "then written as YAML.\nA duration is written `250ms`, `5s`, `1.5m` or `1h`. An unknown setting is an "
        "error that names the nearest one.\n",
        table(("setting", "type", "default", "meaning"), rows),
        "## Entries of `identity`\n",
    ]
    parts: tuple[tuple[str, type[BaseModel]], ...] = (
        ("", config.HeaderIdentity),
        ("", config.SpiffeIdentity),
        ("`rules` of `spiffe`", config.SpiffeRule),
        ("", config.JwtIdentity),
        ("", config.ApiKeyIdentity),
        ("`keys` of `api-key`", config.ApiKeyEntry),
    )
    for title, entry in parts:
        out += _entry(title or f"`kind: {_kind(entry)}`", entry)
    out += ["## Entries of `upstreams`\n", *_entry("`upstreams`", config.Upstream)]
    out += _entry("`credential` of an upstream", config.Credential)
    out += ["## `tls`\n", *_entry("`tls`", config.ListenerTls)]
    return "\n".join(out)


def _kind(entry: type[BaseModel]) -> str:
    return str(typing.get_args(entry.model_fields["kind"].annotation)[0])


def _entry(title: str, entry: type[BaseModel]) -> Iterator[str]:
    yield f"### {title}\n\n{inspect.cleandoc(entry.__doc__ or '')}\n"
    rows = [
        (f"`{name}`", _setting_type(f), _setting_default(f), " ".join((f.description or "").split()))
        for name, f in entry.model_fields.items()
        if name != "kind"
    ]
    yield table(("field", "type", "default", "meaning"), rows)


def _setting_type(f: FieldInfo) -> str:
    if any(getattr(m, "func", None) is config.parse_duration_ms for m in f.metadata):
        return "duration"
    return _type(f.annotation) + _bounds(f)


def _setting_default(f: FieldInfo) -> str:
    if f.is_required():
        return "required"
    value: Any = f.get_default(call_default_factory=True)
    if value == {}:
        return "`{}`"
    if _setting_type(f) == "duration":
        return f"`{value / 1000:g}s`" if value >= 1000 else f"`{value}ms`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "left out"
    if isinstance(value, tuple) and all(isinstance(v, str) for v in value):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{{kind: {v.kind}}}' for v in value)}]`"
    return f"`{value}`" if value != "" else "empty"


# -- metrics ----------------------------------------------------------------------------------------------


def metrics() -> str:
    """All metric families."""
    counters = Metrics(CollectorRegistry())
    of_policy = PolicyMetrics(CollectorRegistry())
    rows = []
    for metric in (*vars(counters).values(), *vars(of_policy).values()):
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append((f"`{name}`", family.type, _labels(metric._labelnames), family.documentation))
    nothing = typing.cast(Any, None)
    gauges = BudgetGauges(nothing, Policy())
    keeper = Checkpointer(nothing, Policy)
    job = RebuildJob(keeper, nothing, Policy)
    for collector in (gauges, keeper, job, Replica(Policy), EnvoyCounters("")):
        rows += _families(collector)
    copies = BudgetGauges(typing.cast(Any, None), Policy(), copies=True)
    names = ", ".join(f"`{f.name}`" for f in copies.collect() if f.name.startswith(COPY))
    vitals = Vitals(**dict.fromkeys(Vitals.__dataclass_fields__, 0) | {n: {} for n in VITALS_BY_LABEL})  # type: ignore[arg-type]
    of_controller = _families(ControllerMetrics(lambda: vitals))
    return (
        "# Metrics\n\nOn `http://ADMIN/metrics`, of all workers together. Amounts are in USD, times in seconds; "
        "months are UTC.\nGauges of budgets are read from the ledger at the scrape: a team's exist before its "
        "first request and are true\nafter a month's turn. Label values are bounded by the setting "
        "`max_label_values`; what is beyond counts as `other`.\n\n"
        + table(("metric", "type", "labels", "meaning"), sorted(rows))
        + "\n## Beside a controller\n\nA gateway whose policy is the controller's shows its copies of the budgets' "
        f"gauges under names of their own:\n{names}.\nThe originals are the controller's, of the replica that leads: "
        "a sum over all that is scraped counts nothing twice.\n\n"
        "## Of the controller\n\nOn `SPENDGATE_METRICS`, beside the gauges of budgets above.\n\n"
        + table(("metric", "type", "labels", "meaning"), sorted(of_controller))
    )


def _families(collector: Any) -> list[tuple[str, ...]]:
    """A row for each family that a collector has."""
    return [
        (
            f"`{f.name}_total`" if f.type == "counter" else f"`{f.name}`",
            f.type,
            _labels(getattr(f, "_labelnames", ())),
            f.documentation,
        )
        for f in collector.collect()
    ]


def _labels(names: Any) -> str:
    return ", ".join(f"`{n}`" for n in names)


# -- budgets ----------------------------------------------------------------------------------------------


def llmbudget() -> str:
    """The LLMBudget document."""
    out = [
        f"# LLMBudget\n\nGroup and version `{budget.API_VERSION}`, kind `{budget.KIND}`. Files given to `--policy` "
        "hold such documents, several separated by\n`---`. Amounts are USD, months are UTC calendar months. An "
        "unknown field is an error that names the nearest one;\n`spendgate validate FILE` shows all faults of a "
        "file at once.\n`limits`, `members` and globs by example: [limits about anything](../how-to/limits.md)."
        "\n\nThe example:\n\n```yaml\n" + EXAMPLE + "```\n"
    ]
    out.append("## `spec`\n\n" + inspect.cleandoc(budget.BudgetSpec.__doc__ or "") + "\n")
    out.append(_fields(budget.BudgetSpec))
    for path, part in _parts(budget.BudgetSpec, "spec"):
        out.append(f"## `{path}`\n\n{inspect.cleandoc(part.__doc__ or '')}\n")
        out.append(_fields(part))
    return "\n".join(out)


def _parts(whole: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, model) of every object within an object, in the order of their fields."""
    for f in whole.model_fields.values():
        for inner in _inner(f.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield f"{path}.{f.alias}", inner
                yield from _parts(inner, f"{path}.{f.alias}")


def _fields(part: type[BaseModel]) -> str:
    rows = []
    for f in part.model_fields.values():
        if f.is_required():
            default = "required"
        elif f.default in (None, (), ""):
            default = "left out"
        else:
            default = f"`{str(f.default).lower() if isinstance(f.default, bool) else f.default}`"
        rows.append((f"`{f.alias}`", _type(f.annotation) + _bounds(f), default, f.description or ""))
    return table(("field", "type", "default", "meaning"), rows)


EXAMPLE = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata:
  name: payments
spec:
  team: payments
  monthlyBudgetUSD: 8000
  alertThresholds:
    - {percent: 50, action: alert}
    - {percent: 80, action: alert_and_downgrade}
    - {percent: 100, action: reject, notifyChannel: "#payments-llm"}
  defaultModel: gpt-4o-mini
  modelLimits:
    - {modelPattern: "claude-opus*", maxMonthlyUSD: 1000, allowedApps: [fraud-review]}
  apps:
    - {name: checkout, essential: true}
"""


# -- types ------------------------------------------------------------------------------------------------


def _inner(annotation: Any) -> Iterator[Any]:
    """All types named in an annotation."""
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _inner(argument)


_NAMES = {"str": "text", "int": "number", "Decimal": "number", "bool": "true or false"}


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        known = [a for a in arguments if a is not type(None)]
        models = any(isinstance(a, type) and issubclass(a, BaseModel) for a in known)
        return "object" if models and len(known) > 1 else " or ".join(map(_type, known))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    name = getattr(annotation, "__name__", str(annotation))
    return "time (RFC 3339)" if "datetime" in name.lower() else _NAMES.get(name, name)


def _bounds(f: FieldInfo) -> str:
    """Limits of a number, from the field or from an optional's inner type."""
    found: dict[str, Any] = {}
    pending = [*f.metadata]
    for argument in typing.get_args(f.annotation):
        pending += getattr(argument, "__metadata__", ())
    for m in pending:
        if isinstance(m, FieldInfo):
            pending += m.metadata
        for key in ("ge", "le"):
            if getattr(m, key, None) is not None:
                found[key] = getattr(m, key)
    if "ge" in found and "le" in found:
        return f", {found['ge']} to {found['le']}"
    return f", at least {found['ge']}" if "ge" in found else ""


OPTIONS: dict[str, list[str]] = {
    "build_monitoring.py": [],
    "build_k8s.py": ["--golden"],
    "build_chart.py": [],  # of what those two wrote
    "build_requirements.py": [],
}
"""Other scripts that write what is read off the code."""


def main() -> int:
    """Write the pages, and all else that is read off the code."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(REFERENCE / name)
    for other, options in OPTIONS.items():
        subprocess.run([sys.executable, str(Path(__file__).with_name(other)), *options], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
