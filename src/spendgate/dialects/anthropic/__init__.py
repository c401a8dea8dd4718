"""Anthropic's messages and batches, also on Vertex AI."""
