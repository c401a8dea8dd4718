"""Coding agents that repeat a refusal, or hide what it says, unless it has another status. Pure data.

Each line is measured with the tool as it is installed, and measured again by tests/conformance/test_agents.py.
An agent whose `user-agent` is that of its SDK cannot be told from it: the setting `reject_status` names it by app.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

USER_AGENT_MAX = 200
"""Characters of a `user-agent` that are compared."""


class Agent(NamedTuple):
    """One agent: the globs of its `user-agent` (case does not matter) and of its dialects, the status that it
    takes as final and whose message it shows, and the version that this was measured with."""

    name: str
    user_agent: str
    dialect: str
    status: int
    measured: str


AGENTS = (
    Agent("Codex", "codex*/*", "openai-responses", 400, "0.171.0"),
    Agent("Gemini CLI", "geminicli*/*", "gemini", 400, "0.61.0"),
    Agent("opencode", "opencode/*", "*", 400, "1.18.33"),
    Agent("aider", "aider/*", "*", 400, "0.86.2"),
)
"""Codex gives up on a 429 without its message, and asks six times on a 403 or 413. Gemini CLI asks ten times on a
429, or, told that it is final, puts a dialog of its own in the message's place. opencode asks without end on a 429.
aider (LiteLLM) asks nine times on all but a 400; it calls itself by its name only where its settings say so."""


def agent_of(dialect: str, user_agent: str) -> Agent | None:
    """The agent of the table that sent a request; None for all others."""
    shown = user_agent[:USER_AGENT_MAX].lower()
    for agent in AGENTS:
        if fnmatchcase(shown, agent.user_agent) and fnmatchcase(dialect, agent.dialect):
            return agent
    return None
