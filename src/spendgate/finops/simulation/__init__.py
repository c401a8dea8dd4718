"""What another policy would have decided, on the requests of a usage log."""
