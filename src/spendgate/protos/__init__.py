"""Our own messages, compiled from protos/ by scripts/build_protos.sh; never edited by hand."""
