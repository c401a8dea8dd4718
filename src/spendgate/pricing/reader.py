"""Walking the YAML nodes of a price file, so that every fault knows its line. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches

import yaml

from spendgate.errors import Fault
from spendgate.pricing.price import UNIT_OF
from spendgate.usage import OTHER_KINDS

USD_MAX = 1_000_000
"""A rate above this is a slip: the dearest model ever sold cost 600 USD per million tokens."""

_NUMBER = re.compile(r"^\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?$")
_DAY = re.compile(r"^20\d\d-[01]\d-[0-3]\d([T ][0-2]\d:[0-5]\d(:[0-5]\d)?Z?)?$")
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Reader:
    """Reads nodes and collects faults; `path` names the file in them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[Fault] = []

    def fault(self, node: yaml.Node | None, field: str, problem: str, remedy: str = "") -> None:
        """Note a fault."""
        line = node.start_mark.line + 1 if node is not None else 0
        self.faults.append(Fault(self.path, line, field, problem, remedy))

    def compose(self, text: str) -> yaml.Node | None:
        """The document's root, None where there is none."""
        try:
            return yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            problem = getattr(e, "problem", None) or str(e).splitlines()[0]
            line = mark.line + 1 if mark is not None else 0
            self.faults.append(Fault(self.path, line, "", f"this is not YAML: {problem}"))
            return None

    def pico(self, where: str, kind: str, node: yaml.Node) -> int | None:
        """A rate as pico-USD for the kind's unit."""
        usd = self.decimal(where, node)
        if usd is None or not isinstance(node, yaml.ScalarNode):
            return None
        unit = "USD each" if kind in OTHER_KINDS else "USD per million tokens"
        pico = usd * (10**12 * UNIT_OF.get(kind, 1) if kind in OTHER_KINDS else 10**6)
        if usd > USD_MAX:
            self.fault(node, where, f"{node.value} {unit} is beyond belief", "check the decimal point")
        elif pico != int(pico):
            remedy = "give at most 12 decimals" if kind in OTHER_KINDS else "give at most 6 decimals"
            self.fault(node, where, f"{node.value} is finer than a pico-USD a unit", remedy)
        else:
            return int(pico)
        return None

    def decimal(self, where: str, node: yaml.Node) -> Decimal | None:
        """A number of 0 or more, exactly as it is written."""
        text = self.text(node)
        if _NUMBER.match(text):
            return Decimal(text)
        if text.startswith("-") and _NUMBER.match(text[1:]):
            self.fault(node, where, f"{text} is negative", "a price is 0 or more")
        else:
            shown = repr(text) if isinstance(node, yaml.ScalarNode) else "this"
            self.fault(node, where, f"{shown} is not a number", "write USD as a plain decimal, like 2.50")
        return None

    def hundredths(self, where: str, node: yaml.Node, least: int, most: int, example: str) -> int | None:
        """A number with at most two decimals, in hundredths, from `least` to `most` hundredths."""
        number = self.decimal(where, node)
        if number is None:
            return None
        scaled = number * 100
        if scaled != int(scaled) or not least <= scaled <= most:
            self.fault(node, where, f"{self.text(node)} is out of bounds or too fine", f"write {example}")
            return None
        return int(scaled)

    def count(self, where: str, node: yaml.Node) -> int:
        """A whole number above 0."""
        text = self.text(node).replace("_", "")
        if re.fullmatch(r"[1-9]\d{0,9}", text):
            return int(text)
        self.fault(node, where, "this is not a number of tokens", "write a whole number above 0")
        return 1

    def moment(self, where: str, node: yaml.Node) -> int | None:
        """A day or a moment (UTC), in ms."""
        text = self.text(node)
        try:
            if _DAY.match(text):
                at = datetime.fromisoformat(text.removesuffix("Z"))
                return int(at.replace(tzinfo=UTC).timestamp()) * 1000
        except ValueError:
            pass
        self.fault(node, where, f"{text!r} is no day", "write 2026-12-31, or 2026-12-31T18:00Z (UTC)")
        return None

    def names(self, where: str, node: yaml.Node) -> list[str]:
        """A list of words."""
        items = node.value if isinstance(node, yaml.SequenceNode) else None
        if items is not None and all(isinstance(i, yaml.ScalarNode) and i.value for i in items):
            return [i.value for i in items]
        self.fault(node, where, "this is not a list of names", "write [a, b]")
        return []

    def items(self, where: str, node: yaml.Node, example: str) -> list[yaml.Node]:
        """The items of a list."""
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.fault(node, where, "this is not a list", f"write {example}")
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

    @staticmethod
    def text(node: yaml.Node) -> str:
        """A scalar's text, `` for what is none."""
        return node.value.strip() if isinstance(node, yaml.ScalarNode) else ""


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The remedy for a word that is none of the known ones."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
