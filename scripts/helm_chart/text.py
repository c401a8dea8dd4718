"""Edits of a manifest's text that turn it into a Helm template. Comments and order stay. An edit that does not find
what it looks for exactly as often as it says is an error: a changed manifest cannot lose a value by accident.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Edit = Callable[[str], str]


class NotFound(ValueError):
    """A manifest has not, or not as often, what an edit looks for."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Every match of `pattern` (a regular expression, lines anchored) by `put`, literally; `times` of them."""

    pattern: str
    put: str
    times: int = 1

    def __call__(self, text: str) -> str:
        out, found = re.subn(self.pattern, lambda _: self.put, text, flags=re.MULTILINE)
        if found != self.times:
            raise NotFound(f"{self.pattern!r} is there {found} times, not {self.times}")
        return out


@dataclass(frozen=True, slots=True)
class After:
    """`put` on lines of its own after each match of `pattern`; `times` of them."""

    pattern: str
    put: str
    times: int = 1

    def __call__(self, text: str) -> str:
        out, found = re.subn(self.pattern, lambda m: f"{m[0]}\n{self.put.rstrip()}", text, flags=re.MULTILINE)
        if found != self.times:
            raise NotFound(f"{self.pattern!r} is there {found} times, not {self.times}")
        return out


@dataclass(frozen=True, slots=True)
class Block:
    """The mapping entry or list item that begins with the line `first` (a regular expression, its indentation
    included) and all that belongs to it, between `before` and `after`, or, with `put`, replaced by it."""

    first: str
    before: str = ""
    after: str = ""
    put: str | None = None
    times: int = 1

    def __call__(self, text: str) -> str:
        found = 0
        lines = text.splitlines()
        out: list[str] = []
        at = 0
        while at < len(lines):
            if re.fullmatch(self.first, lines[at]):
                end = block_end(lines, at)
                kept = lines[at:end] if self.put is None else self.put.rstrip("\n").splitlines()
                out += [x for x in (*self.before.splitlines(), *kept, *self.after.splitlines()) if x]
                found += 1
                at = end
            else:
                out.append(lines[at])
                at += 1
        if found != self.times:
            raise NotFound(f"a block {self.first!r} is there {found} times, not {self.times}")
        return "\n".join(out) + "\n"


def block_end(lines: list[str], at: int) -> int:
    """The line after the block that begins at `at`: the next that is indented no deeper, comments left aside."""
    depth = len(lines[at]) - len(lines[at].lstrip())
    end = at + 1
    while end < len(lines):
        line = lines[end]
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        end += 1
    return end


def block(text: str, first: str) -> str:
    """The text of the one block that begins with the line `first`."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if re.fullmatch(first, line)]
    if len(starts) != 1:
        raise NotFound(f"a block {first!r} is there {len(starts)} times, not once")
    return "\n".join(lines[starts[0] : block_end(lines, starts[0])])


def when(condition: str, text: str, otherwise: str = "") -> str:
    """The lines of `text` where the template's condition holds, else those of `otherwise`."""
    middle = f"{{{{- else }}}}\n{otherwise.rstrip()}\n" if otherwise else ""
    return f"{{{{- if {condition} }}}}\n{text.rstrip()}\n{middle}{{{{- end }}}}"
