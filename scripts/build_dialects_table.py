"""Write docs/reference/dialects.md: which API is read how far, and the test behind each tick.

    .venv/bin/python scripts/build_dialects_table.py

A test builds the page anew and compares, and looks up every test that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from spendgate.dialects.registry import DIALECTS, by_name

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
    """One API: the folder-less file of its tests, and a test or a reason (`-…`) a column."""

    api: str
    paths: str
    file: str
    cells: tuple[str, ...]


NO_STREAM = "-there are none"
NO_OUTPUT = "-there is no output"
NOT_TOLD = "-the API does not tell them"
ROWS = {
    "openai-chat": Row(
        "OpenAI chat; also Azure deployments, Groq, DeepSeek, xAI, Mistral, Together, OpenRouter, vLLM",
        "`…/chat/completions`, `…/agents/completions`, `…/async/chat/completions`",
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
        "OpenAI Responses; also Azure, DeepSeek",
        "`…/responses`, `…/responses/compact`",
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
        "OpenAI legacy completions; also Azure, vLLM, Mistral FIM",
        "`…/completions`",
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
        "OpenAI embeddings; also Azure, Mistral, vLLM",
        "`…/embeddings`",
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
        "Anthropic messages",
        "`…/v1/messages`",
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
        "Gemini, Vertex AI",
        "`…:generateContent`, `…:streamGenerateContent`",
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
        "Cohere chat, version 2",
        "`…/v2/chat`",
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
        "Ollama's own API",
        "`…/api/chat`, `…/api/generate`, `…/api/embed`, `…/api/embeddings`",
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
    "bedrock-converse": Row(
        "Bedrock Converse",
        "`/model/MODEL/converse`, `/model/MODEL/converse-stream`",
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
        "Mistral conversations, of models and agents; OpenAI's stored conversations are free",
        "`…/conversations`, `…/conversations/ID`, `…/conversations/ID/restart`",
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
        "Other publishers' models on Vertex AI (Mistral, Meta, AI21)",
        "`…/publishers/PUBLISHER/models/MODEL:rawPredict`, `:streamRawPredict`",
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
        "Anthropic on Vertex AI",
        "`…/publishers/anthropic/models/MODEL:rawPredict`, `:streamRawPredict`",
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
        "Gemini embeddings",
        "`…:embedContent`, `…:batchEmbedContents`",
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
        "Gemini interactions",
        "`…/v1beta/interactions`",
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
        "Cohere chat and generation, version 1",
        "`…/v1/chat`, `…/v1/generate`",
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
        "Cohere embeddings",
        "`…/v1/embed`, `…/v2/embed`",
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
        "Cohere reranking; also Jina, Voyage, vLLM",
        "`…/v1/rerank`, `…/v2/rerank`, `…/rerank`",
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
        "Bedrock model invocation: Anthropic, Nova, Titan, Llama, Cohere, AI21, OpenAI and others",
        "`/model/MODEL/invoke`, `/model/MODEL/invoke-with-response-stream`",
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
        "OpenAI images; also Azure, xAI, Together",
        "`…/images/generations`, `…/images/edits`, `…/images/variations`",
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
        "OpenAI transcription and translation of speech; also Azure, Groq, Mistral",
        "`…/audio/transcriptions`, `…/audio/translations`",
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
        "OpenAI speech; also Azure, Groq",
        "`…/audio/speech`",
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
        "Moderation: free at OpenAI; billed at Mistral",
        "`…/moderations`",
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
        "Anthropic message batches: charged their estimate",
        "`…/v1/messages/batches`",
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
    rows = [(d.name, ROWS[d.name]) for d in DIALECTS]
    for name, row in rows:
        ticks = ("-" if cell.startswith("-") else "✓" for cell in row.cells)
        out.append(_line((f"`{name}`", row.api, row.paths, *ticks)))
    out += ["", "What the columns say:", ""]
    out += [f"- **{column}**: {meaning}." for column, meaning in COLUMNS.items()]
    out += [
        "",
        "Input that only the provider has (a stored conversation, prompt or cache, a file behind a URI) is held",
        "for by the model's context window, and billed by the usage that the provider reports. Fees without a",
        "count in the answer (code interpreter, storage of files) are not metered; images that a tool made are",
        "billed as their own model's, by size and quality. What is",
        "answered later (Anthropic's batches, `background` responses and interactions) is charged its estimate,",
        "flagged `deferred`. OpenAI's and Google's batches name a file that is not in the request: unknown APIs.",
        "",
        "A request that an AWS SDK signed (SigV4) is never changed, nor is its host: a downgrade is then refused",
        "with the reason `signed`; budget and metering hold. Bedrock's own dialects are never changed at all.",
        "",
        "Where the provider says what it charges (OpenRouter, Perplexity, xAI), that is the bill.",
        "",
        "## The test behind each tick",
        "",
        "Where there is no tick, the reason. Files are in [tests/unit](../../tests/unit).",
        "",
        _line(("Dialect", "What", "Test, or reason")),
        _line(("---",) * 3),
    ]
    for name, row in rows:
        for column, cell in zip(head, row.cells, strict=True):
            file, test = located(row, cell)
            out.append(_line((f"`{name}`", column, f"`{file}`: `{test}`" if file else test)))
    return "\n".join(out) + "\n"


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
