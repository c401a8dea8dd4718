"""LLMBudget documents, the policy compiled from them, and the decision about a request. Pure.

The rules of the decision: docs/reference/decision.md.
"""
