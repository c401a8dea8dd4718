"""Write docs/reference/sdks.md: what each official SDK and each coding agent does with a refusal.

    .venv/bin/python scripts/build_sdk_table.py

The tries and exceptions stand here as they were measured; tests/conformance/test_sdks.py and test_agents.py
measure them again, through a real Envoy, with the SDKs and agents installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from spendgate.settings.agents import AGENTS as KNOWN

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "sdks.md"


class Sdk(NamedTuple):
    """One SDK: its dialect, its language, and by status the exception that it raises and how often it asks."""

    name: str
    package: str
    dialect: str
    raised: dict[int, tuple[str, int]]


OPENAI = {429: ("RateLimitError", 1), 402: ("APIStatusError", 1), 403: ("PermissionDeniedError", 1)}
ANTHROPIC = {429: ("RateLimitError", 1), 402: ("PaymentRequiredError", 1), 403: ("PermissionDeniedError", 1)}
GOOGLE = {429: ("ClientError", 1), 402: ("ClientError", 1), 403: ("ClientError", 1)}
SDKS = (
    Sdk("openai", "Python `openai`", "openai-chat", OPENAI),
    Sdk("openai.responses", "Python `openai`, Responses", "openai-responses", OPENAI),
    Sdk("anthropic", "Python `anthropic`", "anthropic-messages", ANTHROPIC),
    Sdk("groq", "Python `groq`", "openai-chat", OPENAI),
    Sdk("google-genai", "Python `google-genai`", "gemini", GOOGLE),
    Sdk("mistralai", "Python `mistralai`", "openai-chat", dict.fromkeys((429, 402, 403), ("SDKError", 1))),
    Sdk(
        "cohere",
        "Python `cohere`",
        "cohere-chat",
        {429: ("TooManyRequestsError", 3), 402: ("ApiError", 1), 403: ("ForbiddenError", 1)},
    ),
    Sdk(
        "boto3",
        "Python `boto3` 1.43 (from 1.44 on 3 tries), Converse",
        "bedrock-converse",
        {
            429: ("ThrottlingException", 5),
            400: ("ServiceQuotaExceededException", 1),
            403: ("AccessDeniedException", 1),
        },
    ),
    Sdk(
        "boto3.invoke",
        "Python `boto3` 1.43 (from 1.44 on 3 tries), invoke model",
        "bedrock-invoke",
        {
            429: ("ThrottlingException", 5),
            402: ("ServiceQuotaExceededException", 1),
            403: ("AccessDeniedException", 1),
        },
    ),
    Sdk(
        "js:openai",
        "JavaScript `openai`",
        "openai-chat",
        {429: ("RateLimitError", 1), 402: ("APIError", 1), 403: ("PermissionDeniedError", 1)},
    ),
    Sdk(
        "js:openai.responses",
        "JavaScript `openai`, Responses",
        "openai-responses",
        {429: ("RateLimitError", 1), 402: ("APIError", 1), 403: ("PermissionDeniedError", 1)},
    ),
    Sdk(
        "js:anthropic",
        "JavaScript `@anthropic-ai/sdk`",
        "anthropic-messages",
        {429: ("RateLimitError", 1), 402: ("PaymentRequiredError", 1), 403: ("PermissionDeniedError", 1)},
    ),
)
STATUSES = (429, 402, 403, 400)


class Agent(NamedTuple):
    """One coding agent: its package and version, its dialect, its name in the gateway's table (None: not in it), the
    status that it gets, how often it asks then, its exit status, seconds from start to end on an idle machine, what it
    says of its own call (equal to the ledger), and what its user sees at a refusal."""

    name: str
    package: str
    version: str
    dialect: str
    in_table: str | None
    status: int
    tries: int
    exit: int
    seconds: str
    says: str
    sees: str


AGENTS = {
    "claude": Agent(
        "Claude Code", "@anthropic-ai/claude-code", "2.1.332", "anthropic-messages",
        None, 429, 1, 1, "0.5", "tokens and USD",
        "API Error: Request rejected (429) · {message}",
    ),
    "codex": Agent(
        "Codex", "@openai/codex", "0.171.0", "openai-responses",
        "Codex", 400, 1, 1, "0.3", "tokens",
        'ERROR: {{"error":{{"message":"{message}","type":"budget_exceeded",…',
    ),
    "gemini": Agent(
        "Gemini CLI", "@google/gemini-cli", "0.61.0", "gemini",
        "Gemini CLI", 400, 1, 144, "1.4", "tokens",
        'Error when talking to Gemini API … {{"error":{{"code":400,"message":"{message}",…',
    ),
    "opencode": Agent(
        "opencode", "opencode-ai", "1.18.33", "anthropic-messages",
        "opencode", 400, 1, 1, "4", "tokens and USD",
        "Error: {message}",
    ),
    "aider": Agent(
        "aider", "aider-chat", "0.86.2", "openai-chat",
        None, 400, 1, 0, "3.4", "tokens and USD (four decimals)",
        "litellm.BadRequestError: OpenAIException - {message}",
    ),
}  # fmt: skip
MESSAGE = (
    "Team payments has used $50.00 of its $50.00 LLM budget for November 2026; "
    "requests are refused until 2026-12-01 00:00 UTC."
)


def page() -> str:
    """The page's text."""
    out = [
        "<!-- Written by scripts/build_sdk_table.py; do not edit. -->",
        "",
        "# SDKs and refusals",
        "",
        "A refusal has the status 429 (403 where an app may not use a model, and for an API that cannot be",
        "metered; [all reasons](headers-and-reasons.md)) unless `reject_status` or",
        "[the table of agents](#which-status-an-agent-gets) gives the client another, the dialect's own error shape,",
        "`x-should-retry: false`, and no `retry-after`: current SDKs sleep a long one out. What passes by itself",
        "(`budget_held`, `ledger_unavailable`, and `too_busy` with its 503) invites to ask again:",
        "`x-should-retry: true`, and a `retry-after` of 1 to 30 s. Each SDK, as anybody makes it (only its base URL",
        "is ours), raises its own exception. How often it asks at a final refusal before it does was measured",
        "through Envoy; a test measures it again.",
        "",
        "| SDK | dialect | " + " | ".join(f"{status}" for status in STATUSES) + " |",
        "|---" * (2 + len(STATUSES)) + "|",
    ]
    for sdk in SDKS:
        cells = [_cell(sdk.raised.get(status)) for status in STATUSES]
        out.append(f"| {sdk.package} | `{sdk.dialect}` | " + " | ".join(cells) + " |")
    out += [
        "",
        "SDKs of Cohere and AWS repeat a 429 whatever it says. Their tries are bounded by themselves; each is",
        "refused before the provider hears of it and costs nothing, and `spendgate_refused_usd_total` counts",
        "the money of a call that an SDK repeats once. To have them ask once, give their dialect a status that",
        "they do not repeat:",
        "",
        "```yaml",
        "reject_status: {cohere-chat: 402, bedrock-converse: 400, bedrock-invoke: 400}",
        "```",
        "",
        "402 is repeated by none. AWS' 400 is `ServiceQuotaExceededException`, which users of Bedrock know.",
        *_agents(),
    ]
    return "\n".join(out) + "\n"


INTRODUCED = """
## Coding agents

Installed from npm and PyPI, run without a terminal (`-p`, `exec`, `--message`) against the gateway, and measured again
by a test. The first call costs what the provider bills, and what the agent itself says that it used. Each try is
refused before the provider hears of it. [How to point them at the gateway](../how-to/coding-agents.md).

| agent | version | it says of its call | status | tries | seconds | exit |
|---|---|---|---|---|---|---|
"""
TOLD_APART = """
Claude Code, Gemini CLI and opencode ran with their JSON output; without it Gemini CLI's exit status is 1. Gemini CLI
without `-m` lets a small model choose one first, opencode without `--title` has one name the session: two tries. In its
interactive form Gemini CLI shows the same message as an API error; a 429 that Google's details call final would put
its own "Usage limit reached" with "Keep trying" in the message's place. Claude Code puts "Failed to authenticate"
before a 403 (`app_not_allowed_for_model`).

Codex asks for a WebSocket first where its provider says `supports_websockets = true`. The gateway answers 426
([`websockets`](settings.md)), and Codex goes on over HTTP at once: one refused socket, one POST, exact or refused as
above.

### Which status an agent gets

Some agents repeat a 429, or hide what it says. The gateway knows them by `user-agent` and dialect:

| agent | `user-agent` | dialect | status | measured with |
|---|---|---|---|---|
"""
SETTINGS = """
Without it Codex ends at a 429 with "exceeded retry limit" and asks six times at a 403 or 413; Gemini CLI asks ten
times (202 s) at a 429, opencode without end, aider nine times (70 s) at all but a 400. Claude Code obeys
`x-should-retry: false` and needs nothing. aider sends the `user-agent` of its SDK (`OpenAI/Python`, `litellm/…`), so it
cannot be told from programs that want their 429. Either have it say its name (`User-Agent: aider/0.86.2` among its
`extra_headers`), or name its app in the settings:

```yaml
reject_status:
  "app:aider": 400                # the app's name, or a glob
  "user-agent:my-agent/*": 400    # a program of your own
  cohere-chat: 402                # a dialect, as above
```

The app's entry counts first, then the `user-agent`'s, the shipped table, the dialect's. Entries of apps and programs
replace the status of every refusal that the same request would meet again (402, 403, 413, 429); those of dialects
replace 429 alone. 429 as an entry leaves every status as it is, also where the shipped table has another. The body
keeps the dialect's shape, code, message and details. `budget_held` and `ledger_unavailable` pass by themselves, as
soon as other requests end or the ledger is back: they stay a 429 for every client, with `x-should-retry: true`."""


def _agents() -> list[str]:
    """The section on coding agents."""
    out = INTRODUCED.rstrip("\n").split("\n")
    for a in AGENTS.values():
        status = f"{a.status}" + (" (a setting)" if a.in_table is None and a.status != 429 else "")
        cells = (f"{a.name} (`{a.package}`)", a.version, a.says, status, f"{a.tries}", a.seconds, f"{a.exit}")
        out.append(f"| {' | '.join(cells)} |")
    out += ["", "What their users see:", "", "```text"]
    for a in AGENTS.values():
        out += [f"{a.name}:", f"  {a.sees.format(message=MESSAGE)}"]
    out += ["```", *TOLD_APART.rstrip("\n").split("\n")]
    for known in KNOWN:
        dialect = "all" if known.dialect == "*" else f"`{known.dialect}`"
        cells = (known.name, f"`{known.user_agent}`", dialect, f"{known.status}", known.measured)
        out.append(f"| {' | '.join(cells)} |")
    return [*out, *SETTINGS.split("\n")]


def _cell(measured: tuple[str, int] | None) -> str:
    if measured is None:
        return ""
    name, tries = measured
    return f"`{name}`, {'once' if tries == 1 else f'{tries} tries'}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
