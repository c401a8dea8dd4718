"""The form of a price file. Pure: text in, prices or faults out.

```yaml
models:
  gpt-4o: {input: 2.50, output: 10.00, cached_input: 1.25}
  my-*: {input: 0.20, output: 0.80, max_output_tokens: 8192, dialects: [openai-chat]}
```

Token kinds are in USD per million tokens; `requests`, `images`, `seconds`, `characters` and `searches` in USD
each. A model lists its kinds by their names, and may say `tiers` (`above_input_tokens` and the rates that
hold above it), `aliases`, `max_output_tokens`, `context_tokens`, `dialects` and `capabilities`. Numbers are
read from their text as exact decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches

import yaml

from spendgate.errors import ConfigurationError, Fault
from spendgate.pricing.table import Price, Tier, family_of, is_glob
from spendgate.usage import KINDS, OTHER_KINDS

CAPABILITIES = ("tools", "images", "audio", "json_schema")
COUNTS = ("max_output_tokens", "context_tokens")
LISTS = ("aliases", "dialects", "capabilities")
USD_MAX = 1_000_000
"""A rate above this is a slip: the dearest model ever sold cost 600 USD per million tokens."""

_NUMBER = re.compile(r"^\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?$")
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What one file says: prices by name or glob, and other names of them."""

    prices: dict[str, Price]
    aliases: dict[str, str]


def parse(text: str, path: str) -> PriceFile:
    """Read a price file's text. `path` names it in faults. Raises ConfigurationError with all of them."""
    reader = _Reader(path)
    read = reader.file(text)
    if reader.faults:
        raise ConfigurationError(reader.faults)
    return read


class _Reader:
    """Walks the YAML nodes, so that every fault knows its line, and collects faults."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[Fault] = []

    def fault(self, node: yaml.Node | None, field: str, problem: str, remedy: str = "") -> None:
        line = node.start_mark.line + 1 if node is not None else 0
        self.faults.append(Fault(self.path, line, field, problem, remedy))

    def file(self, text: str) -> PriceFile:
        prices: dict[str, Price] = {}
        aliases: dict[str, str] = {}
        for name, key, node in self.entries(self.compose(text), "", "models: {gpt-4o: {…}}"):
            if name != "models":
                self.fault(key, name, "this is not a field of a price file", "put models under `models:`")
                continue
            for model, _, entry in self.entries(node, "models", "a line a model"):
                price, others = self.model(model, entry)
                prices[model] = price
                aliases.update(dict.fromkeys(others, model))
        if not prices and not self.faults:
            self.fault(None, "models", "the file prices no model", "write `models:` and a line a model")
        return PriceFile(prices, aliases)

    def compose(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            problem = getattr(e, "problem", None) or str(e).splitlines()[0]
            line = mark.line + 1 if mark is not None else 0
            self.faults.append(Fault(self.path, line, "", f"this is not YAML: {problem}"))
            return None

    def model(self, model: str, node: yaml.Node) -> tuple[Price, list[str]]:
        where = f"models.{model}"
        rates: dict[str, int] = {}
        tiers: list[Tier] = []
        counts: dict[str, int] = {}
        lists: dict[str, list[str]] = {}
        for name, key, value in self.entries(node, where, "{input: 2.50, output: 10.00}"):
            at = f"{where}.{name}"
            if name in COUNTS:
                counts[name] = self.count(at, value)
            elif name in LISTS:
                lists[name] = self.names(at, value)
            elif name == "tiers":
                tiers = self.tiers(at, value)
            else:
                self.rate(at, name, key, value, rates)
        self.complete(where, node, rates)
        for word in lists.get("capabilities", ()):
            if word not in CAPABILITIES:
                self.fault(node, f"{where}.capabilities", f"{word!r} is none", _nearest(word, CAPABILITIES))
        if is_glob(model) and lists.get("aliases"):
            self.fault(node, f"{where}.aliases", "a glob has no other names", "leave `aliases` out")
        price = Price(
            model=model,
            rates=rates,
            tiers=tuple(sorted(tiers, key=lambda t: t.above_input_tokens)),
            family=family_of(model),
            max_output_tokens=counts.get("max_output_tokens"),
            context_tokens=counts.get("context_tokens"),
            dialects=frozenset(lists.get("dialects", ())),
            capabilities=frozenset(lists["capabilities"]) if "capabilities" in lists else None,
        )
        return price, lists.get("aliases", [])

    def complete(self, where: str, node: yaml.Node, rates: dict[str, int]) -> None:
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

    def tiers(self, where: str, node: yaml.Node) -> list[Tier]:
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, where, "this is not a list", "write [{above_input_tokens: 200000, input: 5.00}]")
            return []
        tiers = []
        for i, item in enumerate(node.value):
            rates: dict[str, int] = {}
            above = None
            for name, key, value in self.entries(
                item, f"{where}[{i}]", "{above_input_tokens: 200000, input: 5}"
            ):
                at = f"{where}[{i}].{name}"
                if name == "above_input_tokens":
                    above = self.count(at, value)
                else:
                    self.rate(at, name, key, value, rates)
            if above is None:
                self.fault(
                    item, f"{where}[{i}]", "above_input_tokens is missing", "say where the tier begins"
                )
            else:
                tiers.append(Tier(above, rates))
        return tiers

    def rate(self, where: str, kind: str, key: yaml.Node, value: yaml.Node, rates: dict[str, int]) -> None:
        if kind not in KINDS:
            known = (*KINDS, *COUNTS, *LISTS, "tiers")
            self.fault(key, where, "this is not a kind of usage", _nearest(kind, known))
            return
        usd = self.usd(where, value)
        if usd is None:
            return
        unit = "USD each" if kind in OTHER_KINDS else "USD per million tokens"
        pico = usd * (10**12 if kind in OTHER_KINDS else 10**6)
        if usd > USD_MAX:
            self.fault(value, where, f"{value.value} {unit} is beyond belief", "check the decimal point")
        elif pico != int(pico):
            remedy = "give at most 12 decimals" if kind in OTHER_KINDS else "give at most 6 decimals"
            self.fault(value, where, f"{value.value} is finer than a pico-USD a unit", remedy)
        else:
            rates[kind] = int(pico)

    def usd(self, where: str, node: yaml.Node) -> Decimal | None:
        text = node.value.strip() if isinstance(node, yaml.ScalarNode) else ""
        if _NUMBER.match(text):
            return Decimal(text)
        if text.startswith("-") and _NUMBER.match(text[1:]):
            self.fault(node, where, f"{text} is negative", "a price is 0 or more")
        else:
            shown = repr(text) if isinstance(node, yaml.ScalarNode) else "this"
            self.fault(node, where, f"{shown} is not a number", "write USD as a plain decimal, like 2.50")
        return None

    def count(self, where: str, node: yaml.Node) -> int:
        text = node.value.replace("_", "") if isinstance(node, yaml.ScalarNode) else ""
        if re.fullmatch(r"[1-9]\d{0,9}", text):
            return int(text)
        self.fault(node, where, "this is not a number of tokens", "write a whole number above 0")
        return 1

    def names(self, where: str, node: yaml.Node) -> list[str]:
        items = node.value if isinstance(node, yaml.SequenceNode) else None
        if items is not None and all(isinstance(i, yaml.ScalarNode) and i.value for i in items):
            return [i.value for i in items]
        self.fault(node, where, "this is not a list of names", "write [a, b]")
        return []

    def entries(
        self, node: yaml.Node | None, where: str, example: str
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The keys and values of a mapping; what is none, or a key given twice, is a fault."""
        if node is None:
            if not self.faults:
                self.fault(None, where, "the file is empty", f"write {example}")
            return
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, where, "this is not a mapping", f"write {example}")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                self.fault(key, where, "this key is not a name", f"write {example}")
            elif name in seen:
                at = f"{where}.{name}" if where else name
                self.fault(key, at, f"given twice, first on line {seen[name]}", "keep one")
            else:
                seen[name] = key.start_mark.line + 1
                yield name, key, value


def _nearest(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
