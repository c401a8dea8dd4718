"""An upstream that speaks OpenAI chat completions and Anthropic messages with true usage, for demos and tests.

It shares no code with `dialects`, so that the two check each other.
"""
