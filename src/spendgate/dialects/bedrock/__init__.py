"""Bedrock's Converse and model invocation."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.bedrock.converse import BedrockConverse
from spendgate.dialects.bedrock.invoke import BedrockInvoke

DIALECTS: tuple[Dialect, ...] = (
    BedrockConverse(),
    BedrockInvoke(),
)
