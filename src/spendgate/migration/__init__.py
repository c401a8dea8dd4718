"""Budgets of other gateways as LLMBudgets: what they say, what is said otherwise here, and what has no equal. Pure."""
