"""The names of a request's members as lenient providers take them, and requests that say a thing twice. Pure.

Go and Ollama match names without regard to case, protobuf takes `snake_case` and `camelCase`; of doubled names some
parsers take the first and others the last. A request of that kind is written anew with each name once, as the API
spells it: of doubled numbers the largest, of doubled lists all, of doubled models the last, the others being told.

An ordinary request is told by its bytes and by one look at its names, and costs no second parsing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import field
from typing import Any

import orjson

from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire import loose, scan
from spendgate.dialects.wire.json_read import JsonObject, NotJson
from spendgate.dialects.wire.numbers import number_of
from spendgate.errors import RequestError
from spendgate.values import dataclass

_PLAIN = """
model models fallbacks provider messages system max_tokens max_completion_tokens max_output_tokens
max_tokens_to_sample max_gen_len max_new_tokens n best_of stream stream_options include_usage modalities
prompt_cache_options prompt_cache_retention
web_search_options prediction service_tier speed inference_geo tools functions response_format text format
content name refusal reasoning_content reasoning reasoning_effort effort tool_calls function_call function
custom audio type image_url url detail input_audio data file file_data file_id file_url input output prompt
suffix instructions previous_response_id conversation max_tool_calls thinking budget_tokens token_budget
citations enabled source title max_uses max_content_tokens mcp_servers container skills context_management edits
output_config output_format user safety_identifier metadata user_id summary encrypted_content variables
arguments tool_plan documents json_schema schema message preamble chat_history tool_results num_generations
connectors conversation_id texts images inputs query options num_predict template context tool_name
promptVariables toolConfig inferenceConfig maxTokens maxNewTokens requestMetadata serviceTier cachePoint toolUse
toolResult textGenerationConfig maxTokenCount parameters imageGenerationConfig numberOfImages taskType
text_prompts samples mode image inputImage bytes requests params partial_images role think raw reasoning_config
include_reasoning enabled extra_body google audio_tokens id call_id background store include agent size quality
additionalModelRequestFields chat_template_kwargs config enable_search enable_thinking engine environment
max_results max_search_results memory_limit plugins pdf preset route search_parameters stream_format targets
thinking_budget result allowed_models override_params model_name filename fallback_models fallback_model
fallback context_window_fallbacks content_policy_fallbacks default_fallbacks assistant_id cachedContent
cached_content context_id dataSources data_sources document_ids file_ids knowledge prompt_id rag retrieval
search_options thread_id web_search agent_id completion_args tool_confirmations request
"""
_GOOGLE = """
contents content parts text role systemInstruction generationConfig maxOutputTokens candidateCount responseSchema
responseJsonSchema responseModalities thinkingConfig thinkingBudget thinkingLevel includeThoughts cachedContent
serviceTier tools toolConfig googleSearch googleSearchRetrieval enterpriseWebSearch googleMaps urlContext codeExecution
fileSearch inlineData fileData fileUri mimeType data requests model thoughtSignature functionCall functionResponse
"""
_INTERACTIONS = """
agent model input system_instruction generation_config max_output_tokens response_format previous_interaction_id
service_tier stream tools content type text data uri mime_type role background store
"""
_OPAQUE = frozenset(
    (
        "$defs", "args", "arguments", "definitions", "inputSchema", "input_schema", "json_schema", "labels", "metadata",
        "parameters", "properties", "requestMetadata", "response", "responseJsonSchema", "responseSchema",
        "response_json_schema", "response_schema", "schema", "variables",
    )
)  # fmt: skip
"""What lies below these is the client's own: names in it mean nothing to a provider's bill."""
WALKED_ABOVE = 8 * 1024 * 1024
WALKED_MAX = 10_000
"""A longer body of fewer members and items is looked through rather than written again: memory costs more than time."""
_QUOTE, _ESCAPED_QUOTE = b'"', b"\\u0022"


@dataclass(frozen=True, slots=True)
class Spelling:
    """The names that an API knows, and how generously it takes them."""

    names: frozenset[str]
    folded: dict[str, str]
    without_underscores: bool = False
    other: frozenset[str] = frozenset()
    """A second spelling that the readers of this API take as it is."""

    @classmethod
    def of(cls, names: str, *, without_underscores: bool = False, other: Iterable[str] = ()) -> Spelling:
        """Of the names as the API spells them."""
        known = names.split()
        made = cls(frozenset(known), {}, without_underscores, frozenset(other))
        made.folded.update({made.fold(name): name for name in known})
        return made

    def fold(self, name: str) -> str:
        """What is the same in all spellings of a name. (Go folds the Kelvin sign and the long s, too.)"""
        name = name.lower() if name.isascii() else name.casefold()
        return name.replace("_", "") if self.without_underscores else name

    def name(self, name: str) -> str:
        """A name as the API spells it; itself where it knows none such."""
        return name if name in self.names else self.folded.get(self.fold(name), name)

    def is_plain(self, document: JsonObject) -> bool:
        """Are all names that matter spelled as the readers know them, and each once?"""
        stack: list[Any] = [document]
        names, other, folded = self.names, self.other, self.folded
        while stack:
            value = stack.pop()
            if type(value) is list:
                stack.extend(inner for inner in value if type(inner) is dict or type(inner) is list)
                continue
            for name, inner in value.items():
                known = None if name in names else folded.get(self.fold(name))
                if known is not None and (name not in other or known in value):
                    return False
                if (type(inner) is dict or type(inner) is list) and not _is_opaque(name, inner):
                    stack.append(inner)
        return True


def _is_opaque(name: str, value: Any) -> bool:
    return name in _OPAQUE or (name == "input" and isinstance(value, dict))  # a tool's input


def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


PLAIN = Spelling.of(_PLAIN)
GOOGLE = Spelling.of(_GOOGLE, without_underscores=True, other=map(_snake, _GOOGLE.split()))
INTERACTIONS = Spelling.of(_INTERACTIONS, without_underscores=True)


def says_once(body: bytes, document: JsonObject) -> bool:
    """Is no name doubled, at any depth? What was written as we write it lost nothing. Else a member that the parser
    dropped took its quotes with it: those of what it kept are counted. (A text that spells a quote as `\\\\u0022` is
    counted too high, and then parsed again.)"""
    kept = _quotes_of(document) if len(body) > WALKED_ABOVE else None
    try:
        if kept is None:
            written = orjson.dumps(document)
            if written == body:
                return True
            kept = scan.count(written, _QUOTE)
        if kept == scan.count(body, _QUOTE) + _escaped_quotes(body):
            return True
    except (TypeError, ValueError):
        pass  # lone surrogates, large numbers
    try:
        return not _has_doubled(jsonbody.first_pairs(body.decode("utf-8", "replace"), _Doubled.of)[0])
    except NotJson:
        return False


def _escaped_quotes(body: bytes) -> int:
    at = scan.find(body, _ESCAPED_QUOTE, rare=2)
    return body.count(_ESCAPED_QUOTE, at) if at >= 0 else 0


def _quotes_of(document: JsonObject) -> int | None:
    """The quotes that a document is written with, without writing it; None where it has many values."""
    quotes, left, stack = 0, WALKED_MAX, [document]
    while stack:
        value: Any = stack.pop()
        if type(value) is str:
            quotes += 2 + scan.count(value, '"')
        elif isinstance(value, dict | list):
            left -= len(value)
            if left < 0:
                return None
            stack.extend((*value, *value.values()) if isinstance(value, dict) else value)
    return quotes


class _Doubled(dict[str, Any]):
    """An object some of whose names came more than once."""

    pairs: list[tuple[str, Any]]

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Keeps the pairs where they are needed."""
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        doubled = cls(plain)
        doubled.pairs = pairs
        return doubled


def _has_doubled(document: Any) -> bool:
    stack = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, _Doubled):
            return True
        stack.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return False


@dataclass(slots=True)
class Said:
    """What was odd about a request."""

    loose: bool = False
    """It is written in a looser grammar than JSON's."""
    followed: bool = False
    """Something else than white space follows the document."""
    doubled: bool = False
    respelled: bool = False
    models: list[str] = field(default_factory=list)
    """Models that it named beside the one that counts."""
    spare: list[str] = field(default_factory=list)
    """Texts that another reader may take."""


def write_anew(text: str, spelling: Spelling) -> tuple[bytes, Said]:
    """The JSON object that a text begins with, in plain JSON, with each name once. Raises NotJson, or
    RequestError where it is JSON of another kind."""
    said = Said()
    try:
        document, end = jsonbody.first_pairs(text, _Doubled.of)
        said.followed = loose.follows(text, end)
    except NotJson:
        plain, said.followed = loose.plain(text)
        said.loose = True
        document, _ = jsonbody.first_pairs(plain, _Doubled.of)
    if not isinstance(document, dict):
        raise RequestError("the body is JSON but not an object; send an object with a model")
    try:
        written = _Writer(spelling, said).value(document, known=True)
        return jsonbody.dumps_bytes(written), said
    except RecursionError as e:
        raise NotJson("nested too deep") from e


class _Writer:
    def __init__(self, spelling: Spelling, said: Said) -> None:
        self._spelling = spelling
        self._said = said

    def value(self, value: Any, *, known: bool) -> Any:
        if isinstance(value, list):
            return [self.value(inner, known=known) for inner in value]
        if not isinstance(value, dict):
            return value
        out: JsonObject = {}
        for given, inner in value.pairs if isinstance(value, _Doubled) else value.items():
            name = self._spelling.name(given) if known else given
            self._said.respelled |= name != given
            written = self.value(inner, known=known and not _is_opaque(name, inner))
            out[name] = self._both(name, out[name], written, known=known) if name in out else written
        return out

    def _both(self, name: str, old: Any, new: Any, *, known: bool) -> Any:
        """What counts of two values of one name: what costs most."""
        said = self._said
        said.doubled = True
        if old is None or new is None:
            return old if new is None else new
        if isinstance(old, bool) and isinstance(new, bool):
            return old or new
        if isinstance(old, bool) or isinstance(new, bool):
            return new if isinstance(old, bool) else old
        if old == new:
            return new
        if known and isinstance(old, list) and isinstance(new, list):
            return [*old, *new]
        if known and isinstance(old, dict) and isinstance(new, dict):
            return {
                key: self._both(key, old[key], new[key], known=True) if key in old and key in new else value
                for key, value in {**old, **new}.items()
            }
        first, second = number_of(old), number_of(new)
        if first is not None and second is not None:
            return old if first > second else new
        if name == "model":
            named = [model for model in (old, new) if isinstance(model, str) and model.strip()]
            said.models += named[:-1]
            return named[-1] if named else new
        kept, spare = (old, new) if first is not None else (new, old)
        said.spare.append(spare if isinstance(spare, str) else json.dumps(spare))
        return kept
