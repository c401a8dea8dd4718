"""Cohere's chat, embed and rerank, and the reranks that copy it."""
