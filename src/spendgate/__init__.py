"""spendgate: budgets for LLM spend, enforced inside the mesh."""

__version__ = "0.1.0"
