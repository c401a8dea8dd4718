"""Ollama's own API."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.ollama.dialect import Ollama

DIALECTS: tuple[Dialect, ...] = (Ollama(),)
