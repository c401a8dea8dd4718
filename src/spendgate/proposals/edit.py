"""Edits of LLMBudget files that keep every other byte: comments, order and style of the file stay. Pure.

The place is found by the marks of the YAML nodes; afterwards the new text is read again and compared with what
it should say, so that an edit is either exact or refused.
"""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import yaml

from spendgate.budget.load import LIST_KINDS
from spendgate.budget.model import KIND
from spendgate.budget.yaml_lines import read_documents
from spendgate.errors import ConfigurationError
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Increase:
    """A temporary raise. `usd` is what is added to the month's budget, `until` when it ends (aware)."""

    usd: Decimal
    until: datetime
    reason: str
    approved_by: str = ""

    def data(self) -> dict[str, Any]:
        """As the document says it."""
        out: dict[str, Any] = {"usd": _number(self.usd), "until": until_text(self.until)}
        if self.reason:
            out["reason"] = self.reason
        if self.approved_by:
            out["approvedBy"] = self.approved_by
        return out


def until_text(until: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def usd_text(usd: Decimal) -> str:
    """A plain decimal number without needless zeros: 500, 12.5."""
    return format(usd.normalize(), "f")


def _number(usd: Decimal) -> Any:
    """As the YAML reader gives it back: a whole number as int, else a Decimal."""
    return int(usd) if usd == usd.to_integral_value() else Decimal(usd_text(usd))


def has_team(text: str, team: str) -> bool:
    """Does the text hold a budget of the team? False where it is not YAML at all."""
    try:
        return _spec_of(text, team) is not None
    except yaml.YAMLError:
        return False


def add_increase(text: str, team: str, increase: Increase, path: str = "<text>") -> str:
    """Append a temporary raise to the team's budget. Raises ConfigurationError."""
    spec = _need_spec(text, team, path)
    found = _value(spec, "increase")
    if found is not None and isinstance(found[1], yaml.SequenceNode) and not _is_alias(*found):
        new = _append(text, found[1], increase)
    elif found is None:
        new = _add_key(text, spec, increase)
    else:
        raise _by_hand(path, team, "spec.increase is no plain list")

    def change(data: dict[str, Any]) -> None:
        data["increase"] = [*(data.get("increase") or []), increase.data()]

    return _checked(text, new, team, path, change)


def set_monthly(text: str, team: str, usd: Decimal, path: str = "<text>") -> str:
    """Write another monthlyBudgetUSD. Raises ConfigurationError."""
    spec = _need_spec(text, team, path)
    found = _value(spec, "monthlyBudgetUSD")
    if found is None or not isinstance(found[1], yaml.ScalarNode) or _is_alias(*found):
        raise _by_hand(path, team, "spec.monthlyBudgetUSD is no plain number")
    node = found[1]
    new = text[: node.start_mark.index] + usd_text(usd) + text[node.end_mark.index :]

    def change(data: dict[str, Any]) -> None:
        data["monthlyBudgetUSD"] = _number(usd)

    return _checked(text, new, team, path, change)


# -- finding ------------------------------------------------------------------------------------------------


def _need_spec(text: str, team: str, path: str) -> yaml.MappingNode:
    try:
        spec = _spec_of(text, team)
    except yaml.YAMLError as e:
        raise ConfigurationError(f"{path}: is not YAML: {e}") from e
    if spec is None:
        raise ConfigurationError(f"{path}: holds no {KIND} of team {team}")
    return spec


def _spec_of(text: str, team: str) -> yaml.MappingNode | None:
    for document in list(yaml.compose_all(text, Loader=yaml.SafeLoader)):
        for node in _budget_nodes(document):
            spec = _value(node, "spec")
            if spec is None or not isinstance(spec[1], yaml.MappingNode) or _is_alias(*spec):
                continue
            name = _value(spec[1], "team")
            if name is not None and name[1].value == team:
                return spec[1]
    return None


def _budget_nodes(node: yaml.Node | None) -> list[yaml.MappingNode]:
    if not isinstance(node, yaml.MappingNode):
        return []
    kind = _value(node, "kind")
    if kind is not None and kind[1].value in LIST_KINDS:
        items = _value(node, "items")
        if items is None or not isinstance(items[1], yaml.SequenceNode):
            return []
        return [x for item in items[1].value for x in _budget_nodes(item)]
    return [node] if kind is not None and kind[1].value == KIND else []


def _value(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((k, v) for k, v in node.value if getattr(k, "value", None) == key), None)


def _is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    """An alias's node stands where its anchor stands, before the key."""
    return bool(value.start_mark.index < key.end_mark.index)


# -- writing ------------------------------------------------------------------------------------------------


def _append(text: str, node: yaml.SequenceNode, increase: Increase) -> str:
    if node.flow_style:
        at = node.end_mark.index - 1
        comma = ", " if node.value else ""
        before = text[:at].rstrip() if node.value else text[:at]
        return before + comma + _flow(increase) + text[at:]
    at = _line_end(text, _last_index(node))
    return _with_lines(text, at, _block(increase, node.start_mark.column))


def _add_key(text: str, spec: yaml.MappingNode, increase: Increase) -> str:
    if spec.flow_style:
        at = spec.end_mark.index - 1
        before = text[:at].rstrip()
        comma = "" if before.endswith((",", "{")) else ","
        return f"{before}{comma} increase: [{_flow(increase)}]" + text[at:]
    column = spec.value[0][0].start_mark.column
    at = _line_end(text, _last_index(spec))
    return _with_lines(text, at, [" " * column + "increase:", *_block(increase, column + 2)])


def _with_lines(text: str, at: int, lines: list[str]) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    return text[:at] + end + end.join(lines) + (text[at:] or end)


def _block(increase: Increase, column: int) -> list[str]:
    pairs = [f"{k}: {_scalar(v)}" for k, v in increase.data().items()]
    return [" " * column + ("- " if i == 0 else "  ") + pair for i, pair in enumerate(pairs)]


def _flow(increase: Increase) -> str:
    return "{" + ", ".join(f"{k}: {_scalar(v)}" for k, v in increase.data().items()) + "}"


def _scalar(value: Any) -> str:
    """Numbers plain, times quoted (some readers would make a date of them), texts as JSON strings, which are
    YAML's double-quoted ones."""
    if isinstance(value, int | Decimal):
        return usd_text(Decimal(value))
    text = json.dumps(str(value), ensure_ascii=False)
    for breaking in "\x85\u2028\u2029\ufeff":  # line breaks to YAML, or a mark that it takes away
        text = text.replace(breaking, f"\\u{ord(breaking):04x}")
    return text


def _last_index(node: yaml.Node) -> int:
    """Where the last thing written of a node ends."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        key, value = node.value[-1]
        return int(key.end_mark.index) if _is_alias(key, value) else _last_index(value)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_index(node.value[-1])
    return int(node.end_mark.index)


def _line_end(text: str, index: int) -> int:
    """The end of the line on which the last written character before `index` stands."""
    while index and text[index - 1].isspace():
        index -= 1
    found = text.find("\n", index)
    at = len(text) if found < 0 else found
    return at - 1 if at and text[at - 1 : at] == "\r" else at


# -- proving ------------------------------------------------------------------------------------------------


def _checked(old: str, new: str, team: str, path: str, change: Any) -> str:
    before, faults = read_documents(old, path)
    after, more = read_documents(new, path)
    if faults or more:
        raise ConfigurationError([*faults, *more])
    wanted = [copy.deepcopy(d.data) for d in before]
    for data in wanted:
        for spec in _specs(data, team):
            change(spec)
            break
        else:
            continue
        break
    if [d.data for d in after] != wanted:
        raise _by_hand(path, team, "its YAML is laid out in a way that cannot be edited safely")
    return new


def _specs(data: Any, team: str) -> list[dict[str, Any]]:
    if not isinstance(data, dict):
        return []
    if data.get("kind") in LIST_KINDS:
        return [s for item in data.get("items") or [] for s in _specs(item, team)]
    spec = data.get("spec")
    return [spec] if isinstance(spec, dict) and spec.get("team") == team else []


def _by_hand(path: str, team: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: the budget of team {team} has to be edited by hand: {why}")
