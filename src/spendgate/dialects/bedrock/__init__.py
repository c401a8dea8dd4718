"""Bedrock's Converse and model invocation."""
