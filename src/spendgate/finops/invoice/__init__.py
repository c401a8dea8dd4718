"""What providers say was used and costs: one reader a provider, one form of line for all."""
