"""The books against a provider's invoice: what differs, why, and the entries that put it right."""
