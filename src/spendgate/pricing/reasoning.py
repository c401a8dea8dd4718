"""Which models make output that need not be seen: they reason unless told otherwise. Pure.

A model that nobody here knows may reason. Those listed do so only where a request asks for it.
Sources: the vendors' model pages (OpenAI's "Reasoning models", Anthropic's "Extended thinking", Google's "Thinking",
Mistral's, Cohere's, DeepSeek's and Alibaba's), read in November 2026.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(
    r"""
    (?:ft:)? (?:
      gpt-3 | gpt-4(?!\d) | chatgpt-4o | gpt-5-chat | gpt-audio | davinci | babbage | curie | ada\b | text-
    | claude-(?:v?[12](?!\d) | instant | 3(?!\d)-(?:5-)?(?:haiku|sonnet|opus) | 3-7-sonnet)
    | claude-(?:opus|sonnet|haiku)-4(?!\d)
    | gemini-(?:1\.|2\.0-|pro\b(?!-latest)|2\.5-flash-lite) (?!.*thinking)
    | gemma-?[1-3](?!n?-?\d*n)
    | (?:open-)? (?:mistral|mixtral|codestral|ministral|pixtral|devstral) (?!.*reason)
    | command-?(?:r|a|light|nightly)? (?!.*reasoning)
    | (?:meta-)? llama-?[234] | deepseek-chat\b
    | qwen-?(?:1\.5|2(?:\.5)?)- (?!.*qwq) | grok-(?:2|3(?!-mini)) | (?:amazon\.)?(?:nova-(?:micro|lite|pro)-v1|titan)
    | phi-[34](?!.*reasoning) | jamba | (?:ai21\.)?j2-
    )
    """,
    re.VERBOSE,
)
_WRAPPING = re.compile(
    r"^(?:.*/)?(?:(?:global|us-gov|us|eu|apac|ap|jp|au|ca)\.)?"
    r"(?:(?:anthropic|openai|cohere|mistral|meta|deepseek|amazon|ai21|qwen|google)\.)?"
)
"""A path, a vendor's prefix, Bedrock's region and vendor."""


@lru_cache(maxsize=4096)
def may_reason(model: str) -> bool:
    """May this model make output that is billed and not shown, without having been asked to?"""
    return _PLAIN.match(_WRAPPING.sub("", model.strip().lower())) is None
