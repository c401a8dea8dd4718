"""Read-only answers for the command line, the console and scrapes: what stands where, and what would be decided."""
