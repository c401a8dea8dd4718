"""Mistral's conversations."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.mistral.conversations import MistralConversations

DIALECTS: tuple[Dialect, ...] = (MistralConversations(),)
