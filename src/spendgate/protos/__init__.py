"""Our own messages, compiled from protos/ by scripts/build_protos.py; never edited by hand."""
