"""Write docs/reference/sdks.md: what each official SDK does with a refusal.

    .venv/bin/python scripts/build_sdk_table.py

The tries and exceptions stand here as they were measured; tests/conformance/test_sdks.py measures them again,
through a real Envoy, with the SDKs installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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
        "Python `boto3`, Converse",
        "bedrock-converse",
        {
            429: ("ThrottlingException", 3),
            400: ("ServiceQuotaExceededException", 1),
            403: ("AccessDeniedException", 1),
        },
    ),
    Sdk(
        "boto3.invoke",
        "Python `boto3`, invoke model",
        "bedrock-invoke",
        {
            429: ("ThrottlingException", 3),
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


def page() -> str:
    """The page's text."""
    out = [
        "<!-- Written by scripts/build_sdk_table.py; do not edit. -->",
        "",
        "# SDKs and refusals",
        "",
        "A refusal has the status 429 (403 where an app may not use a model), the dialect's own error shape,",
        "`x-should-retry: false`, and never a `Retry-After`: current SDKs sleep a long one out. Each SDK, as",
        "anybody makes it (only its base URL is ours), raises its own exception. How often it asks before it",
        "does was measured through Envoy; a test measures it again.",
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
    ]
    return "\n".join(out) + "\n"


def _cell(measured: tuple[str, int] | None) -> str:
    if measured is None:
        return ""
    name, tries = measured
    return f"`{name}`, {'once' if tries == 1 else f'{tries} tries'}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
