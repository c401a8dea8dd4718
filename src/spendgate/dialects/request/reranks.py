"""What a rerank is billed by: search units, each a query with up to 100 documents (Cohere's list, Bedrock's). Pure."""

from __future__ import annotations

from typing import Any

from spendgate.dialects.request.texts import Texts

DOCUMENTS_PER_SEARCH = 100
CHUNK_BYTES = 500
"""Documents above 500 tokens are cut into several (Cohere price list; Bedrock: 512); a token has at least a byte."""


def search_units(texts: Texts, documents: Any) -> int:
    """Take the documents of a rerank. Returns its search units at most."""
    chunks = 0
    for item in documents if isinstance(documents, list) else [documents]:
        before = texts.length_bytes
        texts.add(item)
        chunks += max(1, -(-(texts.length_bytes - before) // CHUNK_BYTES))
    return max(1, -(-chunks // DOCUMENTS_PER_SEARCH))
