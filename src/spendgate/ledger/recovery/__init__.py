"""Noticing that Redis lost what it had been told, and giving it back."""
