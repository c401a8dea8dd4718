"""A worker process: it starts, reloads what changes, tells that it lives, and leaves without losing a call."""
