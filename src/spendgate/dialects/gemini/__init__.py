"""Gemini: generateContent, embeddings and interactions, also on Vertex AI."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.gemini.embeddings import GeminiEmbeddings
from spendgate.dialects.gemini.generate import Gemini
from spendgate.dialects.gemini.interactions import GeminiInteractions

DIALECTS: tuple[Dialect, ...] = (
    Gemini(),
    GeminiEmbeddings(),
    GeminiInteractions(),
)
