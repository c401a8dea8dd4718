"""The form of a price file. Pure: text in, prices or faults out.

```yaml
models:
  gpt-4o: {input: 2.50, output: 10.00, cached_input: 1.25}
  my-*: {input: 0.20, output: 0.80, max_output_tokens: 8192, dialects: [openai-chat]}
  azure/gpt-4o: {input: 2.75, output: 11.00}           # with this provider only
  gpt-5.4:                                             # a list: each holds from its day on
    - {from: 2026-12-15, input: 2.00, output: 12.00}
deployments: {chat-prod: gpt-4o}
tools:                                                 # MCP tools: SERVER/TOOL, globs allowed
  search/web: {requests: 0.05}
  github/*: {requests: 0}
discounts:
  - {percent: 12.5, provider: anthropic, model: "claude-*", from: 2026-07-01, until: 2027-07-01}
  - {percent: -15, model: "*"}                           # a markup: what is charged internally beside it
```

Token kinds are in USD per million tokens; `requests`, `images`, `seconds`, `characters`, `searches` and other
fees in USD each. A model lists its kinds by their names, and may say `tiers` (`above_input_tokens` and the
rates that hold above it), `service_tiers` (by word, laid over the standard rates), `residency` (by place, a
factor such as 1.1), `aliases`, `max_output_tokens`, `context_tokens`, `dialects` and `capabilities`. Numbers
are read from their text as exact decimals; days are UTC.
"""

from __future__ import annotations

from dataclasses import field

import yaml

from spendgate.errors import ConfigurationError
from spendgate.pricing.names import family_of, is_glob
from spendgate.pricing.price import ALWAYS, Entry, Period, Price, Tier
from spendgate.pricing.reader import Reader, nearest
from spendgate.pricing.terms import TOOLS, Discount
from spendgate.usage import KINDS, OTHER_KINDS
from spendgate.values import dataclass

CAPABILITIES = ("tools", "images", "audio", "json_schema")
COUNTS = ("max_output_tokens", "context_tokens")
LISTS = ("aliases", "dialects", "capabilities")
TOOL_EXAMPLE = "{search/web: {requests: 0.05}}"
FORMS = ("from", "tiers", "service_tiers", "residency")


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What one file says: prices by name or glob, other names and deployments of models, discounts."""

    prices: dict[str, Entry]
    aliases: dict[str, str]
    discounts: tuple[Discount, ...] = ()
    tools: dict[str, Entry] = field(default_factory=dict)


def parse(text: str, path: str) -> PriceFile:
    """Read a price file's text. `path` names it in faults. Raises ConfigurationError with all of them."""
    reader = _Prices(path)
    read = reader.file(text)
    if reader.faults:
        raise ConfigurationError(reader.faults)
    return read


@dataclass(slots=True)
class _Line:
    """One mapping of a model, as it was read."""

    since_ms: int
    rates: dict[str, int]
    tiers: list[Tier]
    counts: dict[str, int]
    lists: dict[str, list[str]]
    service: dict[str, tuple[Period, ...]]
    residency: dict[str, int]


class _Prices(Reader):
    def file(self, text: str) -> PriceFile:
        prices: dict[str, Entry] = {}
        aliases: dict[str, str] = {}
        discounts: list[Discount] = []
        tools: dict[str, Entry] = {}
        for name, key, node in self.entries(self.compose(text), "", "models: {gpt-4o: {…}}"):
            match name:
                case "models":
                    for model, _, entry in self.entries(node, "models", "a line a model"):
                        prices[model], others = self.model(model, entry)
                        aliases.update(dict.fromkeys(others, model))
                case "deployments":
                    for alias, at, target in self.entries(node, "deployments", "{chat-prod: gpt-4o}"):
                        if not self.text(target):
                            self.fault(at, f"deployments.{alias}", "this names no model", "write a name")
                        aliases[alias] = self.text(target)
                case "tools":
                    for tool, at, entry in self.entries(node, "tools", TOOL_EXAMPLE):
                        tools[tool] = self.tool(tool, at, entry)
                case "discounts":
                    example = "[{percent: 10, provider: openai}]"
                    for i, item in enumerate(self.items("discounts", node, example)):
                        discounts.append(self.discount(f"discounts[{i}]", item))
                case _:
                    remedy = "put models under `models:`"
                    self.fault(key, name, "this is not a field of a price file", remedy)
        if not (prices or aliases or discounts or tools or self.faults):
            self.fault(None, "models", "the file prices no model", "write `models:` and a line a model")
        return PriceFile(prices, aliases, tuple(discounts), tools)

    def tool(self, tool: str, key: yaml.Node, node: yaml.Node) -> Entry:
        where = f"tools.{tool}"
        server, slash, name = tool.partition("/")
        if not (server and slash and name):
            self.fault(
                key, where, "this names no server and tool", f"write {TOOL_EXAMPLE}, or a glob such as */web"
            )
        rates: dict[str, int] = {}
        for kind, at, value in self.entries(node, where, "{requests: 0.05}"):
            if kind == "requests":
                self.rate(f"{where}.{kind}", kind, at, value, rates)
            else:
                self.fault(at, f"{where}.{kind}", "a tool is priced by the call", "write {requests: 0.05}")
        if not rates and not self.faults:
            self.fault(
                node, where, "no price is given", "write {requests: 0.05}, or {requests: 0} if it is free"
            )
        facts = Price(model=tool, rates=rates, provider=TOOLS)
        return Entry(facts, (Period(ALWAYS, rates),), (), {}, {})

    def model(self, model: str, node: yaml.Node) -> tuple[Entry, list[str]]:
        where = f"models.{model}"
        if isinstance(node, yaml.SequenceNode):
            if not node.value:
                self.fault(node, where, "the list is empty", "write [{input: 2.50, output: 10.00}]")
            lines = [self.line(f"{where}[{i}]", item) for i, item in enumerate(node.value)]
            lines = lines or [_Line(ALWAYS, {}, [], {}, {}, {}, {})]
            if len({x.since_ms for x in lines}) < len(lines):
                self.fault(node, where, "two prices begin at once", "give each its own `from`")
        else:
            lines = [self.line(where, node)]
        lines.sort(key=lambda x: x.since_ms)
        last = lines[-1]
        if is_glob(model) and last.lists.get("aliases"):
            self.fault(node, f"{where}.aliases", "a glob has no other names", "leave `aliases` out")
        facts = Price(
            model=model,
            rates=last.rates,
            tiers=tuple(last.tiers),
            family=family_of(model),
            max_output_tokens=last.counts.get("max_output_tokens"),
            context_tokens=last.counts.get("context_tokens"),
            dialects=frozenset(last.lists.get("dialects", ())),
            capabilities=frozenset(last.lists["capabilities"]) if "capabilities" in last.lists else None,
        )
        periods = tuple(Period(x.since_ms, x.rates, tuple(x.tiers)) for x in lines)
        return Entry(facts, periods, (), last.service, last.residency), last.lists.get("aliases", [])

    def line(self, where: str, node: yaml.Node) -> _Line:
        line = _Line(ALWAYS, {}, [], {}, {}, {}, {})
        for name, key, value in self.entries(node, where, "{input: 2.50, output: 10.00}"):
            at = f"{where}.{name}"
            if name in COUNTS:
                line.counts[name] = self.count(at, value)
            elif name in LISTS:
                line.lists[name] = self.names(at, value)
            elif name == "from":
                since = self.moment(at, value)
                line.since_ms = ALWAYS if since is None else since
            elif name == "tiers":
                line.tiers = self.tiers(at, value)
            elif name == "service_tiers":
                line.service = self.service_tiers(at, value)
            elif name == "residency":
                for place, _, factor in self.entries(value, at, "{us: 1.1}"):
                    percent = self.hundredths(f"{at}.{place}", factor, 1, 1000, "{us: 1.1} for +10 %")
                    line.residency[place] = percent or 100
            else:
                self.rate(at, name, key, value, line.rates)
        self.complete(where, node)
        for word in line.lists.get("capabilities", ()):
            if word not in CAPABILITIES:
                self.fault(node, f"{where}.capabilities", f"{word!r} is none", nearest(word, CAPABILITIES))
        return line

    def complete(self, where: str, node: yaml.Node) -> None:
        """Half a price would make the other half free."""
        if not isinstance(node, yaml.MappingNode):
            return
        named = {k.value for k, _ in node.value}
        if not named & set(KINDS):
            self.fault(node, where, "no kind is priced", "write {input: 2.50, output: 10.00}")
            return
        tokens = named & (set(KINDS) - set(OTHER_KINDS))
        for side in ("input", "output"):
            if tokens and side not in named:
                remedy = f"write `{side}: 0` if it is free"
                self.fault(node, f"{where}.{side}", "the price is missing", remedy)

    def service_tiers(self, where: str, node: yaml.Node) -> dict[str, tuple[Period, ...]]:
        tiers: dict[str, tuple[Period, ...]] = {}
        for word, _, entry in self.entries(node, where, "{flex: {input: 1.25, output: 5}}"):
            rates: dict[str, int] = {}
            contexts: list[Tier] = []
            since = ALWAYS
            for name, key, value in self.entries(entry, f"{where}.{word}", "{input: 1.25, output: 5}"):
                at = f"{where}.{word}.{name}"
                if name == "tiers":
                    contexts = self.tiers(at, value)
                elif name == "from":
                    since = self.moment(at, value) or ALWAYS
                else:
                    self.rate(at, name, key, value, rates)
            tiers[word] = (Period(since, rates, tuple(contexts)),)
        return tiers

    def tiers(self, where: str, node: yaml.Node) -> list[Tier]:
        tiers = []
        for i, item in enumerate(self.items(where, node, "[{above_input_tokens: 200000, input: 5.00}]")):
            rates: dict[str, int] = {}
            above = None
            at = f"{where}[{i}]"
            for name, key, value in self.entries(item, at, "{above_input_tokens: 200000, input: 5}"):
                if name == "above_input_tokens":
                    above = self.count(f"{at}.{name}", value)
                else:
                    self.rate(f"{at}.{name}", name, key, value, rates)
            if above is None:
                self.fault(item, at, "above_input_tokens is missing", "say where the tier begins")
            else:
                tiers.append(Tier(above, rates))
        return sorted(tiers, key=lambda t: t.above_input_tokens)

    def rate(self, where: str, kind: str, key: yaml.Node, value: yaml.Node, rates: dict[str, int]) -> None:
        if kind not in KINDS:
            known = (*KINDS, *COUNTS, *LISTS, *FORMS)
            self.fault(key, where, "this is not a kind of usage", nearest(kind, known))
            return
        pico = self.pico(where, kind, value)
        if pico is not None:
            rates[kind] = pico

    def signed_hundredths(self, where: str, node: yaml.Node) -> int:
        """A discount's percentage, up to 100; below zero a markup's, up to 1000."""
        text = self.text(node)
        if text.startswith("-") and isinstance(node, yaml.ScalarNode):
            plain = yaml.ScalarNode(node.tag, text[1:], node.start_mark, node.end_mark)
            return -(self.hundredths(where, plain, 1, 100_000, "a markup such as -15") or 0)
        return (
            self.hundredths(where, node, 1, 10_000, "a percentage such as 12.5, or a markup such as -15") or 0
        )

    def discount(self, where: str, node: yaml.Node) -> Discount:
        points, provider, model = 0, "", ""
        since: int | None = None
        until: int | None = None
        for name, key, value in self.entries(node, where, "{percent: 10, provider: openai}"):
            at = f"{where}.{name}"
            match name:
                case "percent":
                    points = self.signed_hundredths(at, value)
                case "provider":
                    provider = self.text(value)
                case "model":
                    model = self.text(value)
                case "from":
                    since = self.moment(at, value)
                case "until":
                    until = self.moment(at, value)
                case _:
                    known = ("percent", "provider", "model", "from", "until")
                    self.fault(key, at, "this is not a field of a discount", nearest(name, known))
        if not points and not self.faults:
            self.fault(node, where, "percent is missing", "write {percent: 10, provider: openai}")
        if since is not None and until is not None and until <= since:
            self.fault(node, where, "it ends before it begins", "give `until` a later day than `from`")
        return Discount(points, provider, model, since, until)
