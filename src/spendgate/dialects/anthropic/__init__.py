"""Anthropic's messages and batches, also on Vertex AI."""

from spendgate.dialects.anthropic.batches import AnthropicBatches
from spendgate.dialects.anthropic.messages import AnthropicMessages
from spendgate.dialects.anthropic.vertex import AnthropicVertex
from spendgate.dialects.base import Dialect

DIALECTS: tuple[Dialect, ...] = (
    AnthropicMessages(),
    AnthropicBatches(),
    AnthropicVertex(),
)
