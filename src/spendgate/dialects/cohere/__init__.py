"""Cohere's chat, embed and rerank, and the reranks that copy it."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.cohere.chat import CohereChat
from spendgate.dialects.cohere.chat_v1 import CohereV1
from spendgate.dialects.cohere.embed_rerank import CohereEmbed, CohereRerank

DIALECTS: tuple[Dialect, ...] = (
    CohereChat(),
    CohereV1(),
    CohereEmbed(),
    CohereRerank(),
)
