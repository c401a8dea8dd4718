"""Counting tokens, and bounding what a provider will bill. Pure."""
