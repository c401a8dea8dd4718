"""What several families need to meter a response: meters of streams, usage that grows, costs that are told."""
