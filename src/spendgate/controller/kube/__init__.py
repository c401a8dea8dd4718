"""Kubernetes transport: access, watches, election, events. Nothing here knows a budget."""
