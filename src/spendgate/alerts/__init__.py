"""Threshold crossings and faults, told once: claimed in Redis, delivered to Slack and webhooks."""
