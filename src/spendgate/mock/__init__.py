"""An upstream that speaks the APIs of several providers with true usage, for demos and tests.

It shares no code with `dialects`, so that the two check each other.
"""
