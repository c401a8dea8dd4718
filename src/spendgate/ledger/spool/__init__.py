"""Settlements that Redis could not take, on disk until it acknowledges them."""
