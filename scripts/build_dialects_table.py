"""Write docs/reference/dialects.md: which API is read how far, and the test behind each tick.

    .venv/bin/python scripts/build_dialects_table.py

A test builds the page anew and compares, and looks up every test that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from spendgate.dialects.base import Dialect
from spendgate.dialects.registry import DIALECTS, by_name
from spendgate.dialects.wire.traits import NOT_USAGE, WHEN_MISSING
from spendgate.usage import KINDS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "dialects.md"
COLUMNS = {
    "JSON": "usage of a JSON answer",
    "stream": "usage of a streamed answer, cut at any byte; output that flowed where it was aborted",
    "cached": "tokens read from, or written to, the provider's prompt cache, apart",
    "reasoning": "reasoning (thinking) tokens, apart",
    "fees": "fees beside tokens: the provider's own tools (web searches), images, seconds, characters",
    "model": "the model can be rewritten (routing, downgrade, `X-Require-Model`)",
    "cap": "an output cap can be written (`outputTokenCap`, clamping)",
    "error": "a refusal has the API's own error shape",
}


class Row(NamedTuple):
    """The folder-less file of an API's tests, and a test or a reason (`-…`) a column."""

    file: str
    cells: tuple[str, ...]


NO_STREAM = "-there are none"
NO_OUTPUT = "-there is no output"
NOT_TOLD = "-the API does not tell them"
ROWS = {
    "openai-chat": Row(
        "dialects/openai/test_usage.py",
        (
            "test_recorded_usage_is_split_into_kinds",
            "dialects/openai/test_stream.py:test_usage_is_read_however_the_stream_is_cut",
            "test_recorded_usage_is_split_into_kinds",
            "test_recorded_usage_is_split_into_kinds",
            "test_searches_are_read_or_known_by_the_model",
            "dialects/openai/test_request.py:test_the_model_is_rewritten_wherever_it_stands",
            "dialects/openai/test_request.py:test_a_cap_goes_where_the_clients_own_limit_stands_and_only_lowers_it",
            "dialects/test_errors.py:test_openai_raises_its_own_error",
        ),
    ),
    "openai-responses": Row(
        "dialects/openai/test_responses.py",
        (
            "test_recorded_usage_is_split_into_kinds",
            "test_usage_is_read_at_every_split",
            "test_recorded_usage_is_split_into_kinds",
            "test_recorded_usage_is_split_into_kinds",
            "test_searches_are_counted_and_pages_opened_are_not",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "dialects/test_errors.py:test_openai_raises_its_own_error_in_every_api",
        ),
    ),
    "openai-completions": Row(
        "dialects/openai/test_completions.py",
        (
            "test_recorded_usage",
            "test_a_stream_is_metered_at_every_split",
            "dialects/openai/test_usage.py:test_recorded_usage_is_split_into_kinds",
            "dialects/openai/test_usage.py:test_recorded_usage_is_split_into_kinds",
            "-there are none",
            "test_what_is_wanted_is_rewritten_and_nothing_else",
            "test_what_is_wanted_is_rewritten_and_nothing_else",
            "dialects/test_errors.py:test_openai_raises_its_own_error_in_every_api",
        ),
    ),
    "openai-embeddings": Row(
        "dialects/openai/test_completions.py",
        (
            "test_recorded_usage",
            NO_STREAM,
            "-there are none",
            NO_OUTPUT,
            "-there are none",
            "test_what_is_wanted_is_rewritten_and_nothing_else",
            NO_OUTPUT,
            "dialects/test_errors.py:test_openai_raises_its_own_error_in_every_api",
        ),
    ),
    "anthropic-messages": Row(
        "dialects/anthropic/test_messages.py",
        (
            "test_recorded_usage_is_split_into_kinds",
            "test_the_delta_is_laid_over_the_start_however_the_stream_is_cut",
            "test_recorded_usage_is_split_into_kinds",
            "test_recorded_usage_is_split_into_kinds",
            "test_recorded_usage_is_split_into_kinds",
            "test_the_model_is_rewritten_and_nothing_else",
            "test_a_cap_only_lowers_and_stays_above_the_thinking_budget",
            "dialects/test_errors.py:test_anthropic_raises_its_own_error",
        ),
    ),
    "gemini": Row(
        "dialects/gemini/test_generate.py",
        (
            "test_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_usage_is_read_at_every_split",
            "test_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_searches_are_billed_by_prompt_and_since_gemini_3_by_query",
            "test_the_model_is_rewritten_in_the_path_and_nothing_else",
            "test_a_cap_is_written_where_the_client_spells_it",
            "test_a_refusal_is_googles_error",
        ),
    ),
    "cohere-chat": Row(
        "dialects/cohere/test_chat.py",
        (
            "test_the_billed_units_are_the_bill",
            "test_a_stream_is_metered_at_every_split",
            "-they are no part of the billed units",
            NOT_TOLD,
            "test_the_billed_units_are_the_bill",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "test_a_refusal_has_coheres_message",
        ),
    ),
    "ollama": Row(
        "dialects/ollama/test_dialect.py",
        (
            "test_usage_is_read_and_a_cached_prompt_has_none",
            "test_a_stream_is_metered_at_every_split",
            NOT_TOLD,
            NOT_TOLD,
            "-there are none",
            "test_a_cap_is_written_into_the_options",
            "test_a_cap_is_written_into_the_options",
            "test_a_refusal_is_ollamas_error",
        ),
    ),
    "mcp": Row(
        "dialects/mcp/test_tools.py",
        (
            "test_an_answer_with_a_result_was_made_also_one_that_says_it_failed",
            "test_a_stream_is_metered_by_its_results_however_it_is_cut",
            NOT_TOLD,
            NO_OUTPUT,
            "test_a_tool_call_is_one_request_that_costs_what_its_tool_does",
            "-a tool is what it is",
            NO_OUTPUT,
            "test_a_refusal_is_an_answer_with_the_requests_id",
        ),
    ),
    "bedrock-converse": Row(
        "dialects/bedrock/test_converse.py",
        (
            "test_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_usage_is_read_at_every_split",
            "test_usage_is_split_into_kinds_that_add_up_to_the_total",
            NOT_TOLD,
            "-there are none",
            "-the client signed path and body",
            "-the client signed path and body",
            "test_a_refusal_is_one_of_bedrocks_exceptions",
        ),
    ),
    "mistral-conversations": Row(
        "exchange/test_billing.py",
        (
            "test_mistrals_conversations_are_metered_with_what_their_tools_read_and_cost",
            "test_their_streams_tell_it_in_their_last_event",
            NOT_TOLD,
            NOT_TOLD,
            "test_mistrals_conversations_are_metered_with_what_their_tools_read_and_cost",
            "test_a_conversations_model_and_cap_are_written",
            "test_a_conversations_model_and_cap_are_written",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "vertex-publishers": Row(
        "exchange/test_billing.py",
        (
            "test_other_publishers_on_vertex_are_metered",
            "dialects/openai/test_stream.py:test_usage_is_read_however_the_stream_is_cut",
            "dialects/openai/test_usage.py:test_recorded_usage_is_split_into_kinds",
            "dialects/openai/test_usage.py:test_recorded_usage_is_split_into_kinds",
            "dialects/openai/test_usage.py:test_searches_are_read_or_known_by_the_model",
            "-the path names the model",
            "dialects/openai/test_request.py:test_a_cap_goes_where_the_clients_own_limit_stands_and_only_lowers_it",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "anthropic-vertex": Row(
        "dialects/anthropic/test_vertex.py",
        (
            "test_usage_is_read_of_an_answer_and_of_a_stream_at_every_split",
            "test_usage_is_read_of_an_answer_and_of_a_stream_at_every_split",
            "test_usage_is_read_of_an_answer_and_of_a_stream_at_every_split",
            "dialects/anthropic/test_messages.py:test_recorded_usage_is_split_into_kinds",
            "dialects/anthropic/test_messages.py:test_recorded_usage_is_split_into_kinds",
            "test_the_model_is_rewritten_in_the_path_and_the_cap_in_the_body",
            "test_the_model_is_rewritten_in_the_path_and_the_cap_in_the_body",
            "dialects/test_errors.py:test_anthropic_raises_its_own_error",
        ),
    ),
    "gemini-embeddings": Row(
        "dialects/gemini/test_embeddings.py",
        (
            "test_embeddings_are_billed_by_their_usage",
            NO_STREAM,
            "-there are none",
            NO_OUTPUT,
            "-there are none",
            "-a batch names it in each of its parts too",
            NO_OUTPUT,
            "test_a_refusal_is_googles_error",
        ),
    ),
    "gemini-interactions": Row(
        "dialects/gemini/test_embeddings.py",
        (
            "test_an_interactions_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_an_interaction_is_metered_at_every_split",
            "test_an_interactions_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_an_interactions_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_an_interactions_usage_is_split_into_kinds_that_add_up_to_the_total",
            "test_an_interaction_is_rewritten_and_nothing_else",
            "test_an_interaction_is_rewritten_and_nothing_else",
            "test_a_refusal_is_googles_error",
        ),
    ),
    "cohere-v1": Row(
        "dialects/cohere/test_embed_rerank.py",
        (
            "test_version_1_is_billed_by_its_billed_units",
            "test_a_version_1_stream_is_metered_at_every_split",
            "-they are no part of the billed units",
            NOT_TOLD,
            "-there are none",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            "dialects/cohere/test_chat.py:test_a_refusal_has_coheres_message",
        ),
    ),
    "cohere-embed": Row(
        "dialects/cohere/test_embed_rerank.py",
        (
            "test_embeddings_have_input_and_images",
            NO_STREAM,
            "-there are none",
            NO_OUTPUT,
            "-there are none",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            NO_OUTPUT,
            "dialects/cohere/test_chat.py:test_a_refusal_has_coheres_message",
        ),
    ),
    "cohere-rerank": Row(
        "dialects/cohere/test_embed_rerank.py",
        (
            "test_a_rerank_is_held_and_billed_by_its_search_units",
            NO_STREAM,
            "-there are none",
            NO_OUTPUT,
            "test_a_rerank_is_held_and_billed_by_its_search_units",
            "test_model_and_cap_are_rewritten_and_nothing_else",
            NO_OUTPUT,
            "dialects/cohere/test_chat.py:test_a_refusal_has_coheres_message",
        ),
    ),
    "bedrock-invoke": Row(
        "dialects/bedrock/test_invoke.py",
        (
            "test_usage_is_read_from_headers_and_from_every_vendors_body",
            "test_usage_is_read_at_every_split",
            "test_usage_is_read_from_headers_and_from_every_vendors_body",
            NOT_TOLD,
            "-there are none",
            "-the client signed path and body",
            "-the client signed path and body",
            "test_a_refusal_is_one_of_bedrocks_exceptions",
        ),
    ),
    "openai-images": Row(
        "dialects/openai_media/test_media.py",
        (
            "test_images_are_billed_by_their_tokens_where_they_are_told",
            "test_a_streamed_image_is_metered_at_every_split",
            "-there are none",
            "-there are none",
            "test_an_image_is_held_by_tokens_and_known_by_its_number",
            "test_the_model_is_rewritten_in_json_and_in_a_form_and_nothing_else",
            "-there is none to write",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "openai-transcriptions": Row(
        "dialects/openai_media/test_media.py",
        (
            "test_a_transcript_is_billed_by_tokens_or_seconds",
            "test_a_streamed_transcript_is_metered_at_every_split",
            "-there are none",
            "-there are none",
            "test_a_transcription_is_held_by_its_length",
            "test_the_model_is_rewritten_in_json_and_in_a_form_and_nothing_else",
            "-there is none to write",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "openai-speech": Row(
        "dialects/openai_media/test_media.py",
        (
            "-the answer is sound; characters are known by the request",
            "test_streamed_speech_is_metered_at_every_split",
            "-there are none",
            "-there are none",
            "test_speech_is_known_by_its_characters_or_held_by_its_tokens",
            "test_the_model_is_rewritten_in_json_and_in_a_form_and_nothing_else",
            "-there is none to write",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "moderations": Row(
        "dialects/openai_media/test_media.py",
        (
            "test_openais_moderation_is_free_and_mistrals_is_not",
            NO_STREAM,
            "-there are none",
            NO_OUTPUT,
            "-there are none",
            "dialects/openai/test_completions.py:test_what_is_wanted_is_rewritten_and_nothing_else",
            NO_OUTPUT,
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
    "anthropic-batches": Row(
        "dialects/anthropic/test_batches.py",
        (
            "test_its_answer_has_used_nothing_yet",
            NO_STREAM,
            "-the answers come later",
            "-the answers come later",
            "test_a_batch_is_the_sum_of_its_requests",
            "-its requests may name several",
            "-each request has its own",
            "dialects/test_every_dialect.py:test_a_refusal_is_json_with_its_message_and_reason",
        ),
    ),
}


def page() -> str:
    """The page's text."""
    head = [*COLUMNS]
    out = [
        "<!-- Written by scripts/build_dialects_table.py; do not edit. -->",
        "",
        "# Dialects",
        "",
        "A dialect is one provider API's wire format. A POST is in the first dialect that claims its path, however",
        "that is spelled: for matching it is decoded, its dots resolved, its case, `//`, `;parameters` and blanks",
        "looked over (it goes on byte for byte). `dialects:` in the settings and in price files takes these names.",
        "",
        "A request in none is free by its exact method and path (token counting, files, stored conversations, model",
        "lists; GET, HEAD, OPTIONS and DELETE without a body), or an **unknown API**: it may cost money that nobody",
        "here can meter. Where a team's budget enforces it is refused with 403 `unknown_api`: if the budget says",
        "`unknownApis: reject`, or says nothing and the setting `unknown_apis` does; if neither says anything, where a",
        "known provider answers (the upstream's `provider` or host), and where it is the kin of a metered call",
        "(another method on a metered path, a POST without a body, a method override, Google's RPC paths, a path that",
        "leads back or seems to end before its end, so that servers may take it for several). Elsewhere",
        "it passes unmetered. `spendgate_unknown_api_requests_total` counts both. At Google, parameters that switch",
        "the usage off (`fields`, `$fields`, `X-Goog-FieldMask`, `alt` other than `json` and `sse`) make a request",
        "[unreadable](../explanation/reading-requests.md).",
        "",
        _line(("Dialect", "API", "Paths", *head)),
        _line(("---",) * (3 + len(head))),
    ]
    for d in DIALECTS:
        ticks = ("-" if cell.startswith("-") else "✓" for cell in ROWS[d.name].cells)
        out.append(_line((f"`{d.name}`", d.title, ", ".join(f"`{path}`" for path in d.paths), *ticks)))
    out += ["", "Before the paths any prefix may stand. What the columns say:", ""]
    out += [f"- **{column}**: {meaning}." for column, meaning in COLUMNS.items()]
    out += [*BILLS, "", "## What is read, and what is charged without it", ""]
    out += [*FIELDS_SAY, ""]
    for d in DIALECTS:
        out += _fields_of(d)
    out += [
        "## The test behind each tick",
        "",
        "Where there is no tick, the reason. Files are in [tests/unit](../../tests/unit).",
        "",
        _line(("Dialect", "What", "Test, or reason")),
        _line(("---",) * 3),
    ]
    for d in DIALECTS:
        row = ROWS[d.name]
        for column, cell in zip(head, row.cells, strict=True):
            file, test = located(row, cell)
            out.append(_line((f"`{d.name}`", column, f"`{file}`: `{test}`" if file else test)))
    return "\n".join(out) + "\n"


BILLS = (
    "",
    "Input that only the provider has (a stored conversation, prompt or cache, a file behind a URI) is held",
    "for by the model's context window, and billed by the usage that the provider reports. Images that a tool made are",
    "billed as their own model's, by size and quality. What is",
    "answered later (Anthropic's batches, `background` responses and interactions) is charged its estimate,",
    "flagged `deferred`. OpenAI's and Google's batches name a file that is not in the request: unknown APIs.",
    "",
    "A request that an AWS SDK signed (SigV4) is never changed, nor is its host: a downgrade is then refused",
    "with the reason `signed`; budget and metering hold. Bedrock's own dialects are never changed at all.",
    "",
    "Where the provider says what it charges (OpenRouter, Perplexity, xAI, DeepInfra), that is the bill.",
)
FIELDS_SAY = (
    "`NAME[]` is a list's element, `NAME[KEY=VALUE]` the element of which that is so, `header NAME` a header of the",
    "answer. Where several may tell it, proxies write several, and the largest counts. A count may be written as a",
    "number, as one without a fraction, or as its digits. An answer without any usage is charged by what flowed of it,",
    "flagged `counted`, where its model cannot have made what is not seen, else at its hold",
    "([ends.md](ends.md)); so are counts that are all zero beside a text, flagged `zero_usage`.",
    "Each field is set in an answer by `dialects/test_usage_fields.py`, which sees the reading change.",
)


TOOLS = (
    "A `tools/call` costs one request at the price that `tools` in the price files give it, once one of them "
    "prices a tool; an answer that is a JSON-RPC error costs nothing. Calls without a price are an unknown API. "
    "With the header `MCP-Protocol-Version` or `Mcp-Session-Id` it is so below the prefix of an upstream with "
    "`dialects: [mcp]`, and on any path that no dialect claims, where unknown APIs pass: what is no call there "
    "stays an unknown API. ext_authz sees no body there, and believes the header below such a prefix alone."
)


def _fields_of(dialect: Dialect) -> list[str]:
    """A dialect's fields, what is charged when each is missing, and what is not metered."""
    out = [f"### `{dialect.name}`", ""]
    if dialect.usage_fields:
        out += [_line(("What", "Fields", "Where it is missing")), _line(("---",) * 3)]
        for kind in sorted(dialect.usage_fields, key=_rank):
            fields = ", ".join(f"`{path}`" for path in dialect.usage_fields[kind])
            name = kind if kind in NOT_USAGE else f"`{kind}`"
            out.append(_line((name, fields, WHEN_MISSING[kind])))
    else:
        untold = "Its answers tell no usage: the estimate is charged."
        out.append(TOOLS if dialect.operation == "execute_tool" else untold)
    if dialect.usage_events:
        places = ", ".join(
            f"{events} (below `{root}`)" if root else events for root, events in dialect.usage_events.items()
        )
        out += ["", f"In a stream: {places}."]
    if dialect.not_metered:
        out += ["", f"Not metered: {'; '.join(dialect.not_metered)}."]
    return [*out, ""]


def _rank(kind: str) -> int:
    return (*KINDS, *NOT_USAGE).index(kind)


def located(row: Row, cell: str) -> tuple[str, str]:
    """(file, test) of a tick; ("", reason) where there is none."""
    if cell.startswith("-"):
        return "", cell[1:]
    file, _, test = cell.rpartition(":")
    return file or row.file, test


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for known in ROWS:
        by_name(known)
    PAGE.write_text(page())
