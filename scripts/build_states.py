"""Write docs/reference/states.md, the states of an exchange, drawn from the table in src/spendgate/exchange/states.py.

    .venv/bin/python scripts/build_states.py

A test builds it anew and compares.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path

from spendgate.exchange import events, states
from spendgate.exchange.states import IDLE, TRANSITIONS, State, Verdict

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "states.md"
EVERYWHERE = (events.StreamClosed, events.InternalError, events.Withdrawn)
"""Events that end an exchange from every state in which something is open: told in words, not drawn."""


def page() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "<!-- Written by scripts/build_states.py; do not edit. -->\n"
    yield "# The states of an exchange\n"
    yield (
        "An exchange is one request and its response. Its machine takes an event, lets one step decide, and looks the "
        "next state up in [a table](../../src/spendgate/exchange/states.py); no other code sets it. "
        "What the table does not list is a fault of ours: traffic passes, and what is held is charged. "
        "[What each end is charged](ends.md) is a table, too.\n"
    )
    yield "```mermaid\nstateDiagram-v2"
    yield f"  [*] --> {State.START.value}"
    yield from _arrows()
    yield f"  {State.ENDED.value} --> [*]"
    yield "```\n"
    yield (
        "Not drawn: from every state before `passing`, the end of the call (`StreamClosed`) leads to `ended`, "
        "a fault of ours (`InternalError`) to `broken`; a request that was not sent can be withdrawn (`Withdrawn`), "
        "which ends it.\n"
    )
    for title, kind in (("States", State), ("Verdicts", Verdict)):
        yield f"## {title}\n"
        said = _docstrings(kind)
        yield f"| {title.lower()[:-1]} | meaning |\n|---|---|"
        yield from (f"| `{member.value}` | {said.get(member.name, '')} |" for member in kind)
        yield ""


def _arrows() -> Iterator[str]:
    arrows: dict[tuple[State, State], list[str]] = defaultdict(list)
    for state, moves in TRANSITIONS.items():
        for event, by_verdict in moves.items():
            for verdict, to in by_verdict.items():
                if (event not in EVERYWHERE or state is State.PASSING) and not (
                    state in IDLE and to is state
                ):
                    arrows[state, to].append(f"{event.__name__}, {verdict.value}")
    for (state, to), labels in arrows.items():
        yield f"  {state.value} --> {to.value}: {'; '.join(labels)}"


def _docstrings(kind: type[Enum]) -> dict[str, str]:
    """What stands below each member in the source."""
    tree = ast.parse(Path(states.__file__).read_text(encoding="utf-8"))
    [body] = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__]
    said = {}
    for member, text in pairwise(body):
        if (
            isinstance(member, ast.Assign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            [name] = member.targets
            assert isinstance(name, ast.Name)
            said[name.id] = " ".join(str(text.value.value).split())
    return said


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
