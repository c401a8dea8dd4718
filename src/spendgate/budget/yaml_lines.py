"""YAML as plain data that remembers its lines: every fault can be named by file and line.

Numbers with a point become Decimal, never float; timestamps stay text; a key given twice is a fault; aliases
and merge keys work, within a bound, so that a nested-alias bomb is refused instead of expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from spendgate.errors import Fault
from spendgate.values import dataclass

NODES_MAX = 100_000
"""Values of one file, aliases expanded; a policy folder of a large company stays far below."""
DEPTH_MAX = 50

_TAG = "tag:yaml.org,2002:"
Loc = tuple[str | int, ...]


class _BadScalar(ValueError):
    """A scalar that YAML's tag says is a number or flag, and that cannot be read as one."""


@dataclass(slots=True)
class Document:
    """One document: its data, and the line on which each part of it stands (1 is the first)."""

    path: str
    data: Any
    line: int
    lines: dict[Loc, int] = field(default_factory=dict)

    def line_of(self, loc: Loc) -> int:
        """The line of `loc`, or of the nearest part around it that was written."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, self.line)


def read_documents(text: str, path: str) -> tuple[list[Document], list[Fault]]:
    """Read every document of a YAML text; empty ones are left out. Syntax faults end the reading."""
    documents: list[Document] = []
    faults: list[Fault] = []
    try:
        for node in _compose_all(text):
            builder = _Builder(path)
            document = Document(path, None, node.start_mark.line + 1, builder.lines)
            document.data = builder.build(node, ())
            faults += builder.faults
            if document.data is not None:
                documents.append(document)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 0
        faults.append(Fault(path, line, "", f"is not YAML: {e.problem or e.context}", "correct the syntax"))
    except yaml.YAMLError as e:
        faults.append(
            Fault(path, 0, "", f"is not YAML: {_first_line(e)}", "save the file as plain UTF-8 text")
        )
    except RecursionError:
        faults.append(Fault(path, 0, "", "nests too deep", f"keep below {DEPTH_MAX} levels"))
    return documents, faults


def _compose_all(text: str) -> Iterator[yaml.Node]:
    # The pure-Python loader: its marks are exact, and policy files are small.
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]


class _Builder:
    """Turns one node tree into plain data, noting lines and faults."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: dict[Loc, int] = {}
        self.faults: list[Fault] = []
        self._count = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        self._count += 1
        if self._count > NODES_MAX or len(loc) > DEPTH_MAX:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {NODES_MAX} values or {DEPTH_MAX} levels", node.start_mark
            )
        self.lines.setdefault(loc, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*loc, i)) for i, child in enumerate(node.value)]
        try:
            return self._scalar(node)
        except (_BadScalar, ValueError) as e:
            self._fault(node, loc, f"cannot be read: {_first_line(e)}", "quote it if it is meant as text")
            return None

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    value = self.build(source, loc)
                    if isinstance(value, dict):
                        merged = {**value, **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, loc, "has a key that is no text", "write `name: value`")
                continue
            key = key_node.value
            here = (*loc, key)
            if key in out:
                first = self.lines[here]
                self._fault(key_node, here, f"is given twice, first on line {first}", "remove one")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            out[key] = self.build(value_node, here)
        return {**merged, **out}

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind == "float":
            try:
                return Decimal(text.replace("_", ""))
            except InvalidOperation as e:
                raise _BadScalar(f"{text!r} is not a decimal number") from e
        if kind == "null":
            return None
        if kind in ("bool", "int"):
            return self._constructor.construct_object(node)
        return text

    def _fault(self, node: yaml.Node, loc: Loc, problem: str, remedy: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(Fault(self.path, line, field_text(loc), problem, remedy))


def field_text(loc: Loc) -> str:
    """Write a location as people do: `spec.alertThresholds[0].percent`."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out
