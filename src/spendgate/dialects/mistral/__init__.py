"""Mistral's conversations."""
