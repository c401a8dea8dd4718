"""Prices in integer pico-USD a unit, and what a usage costs in integer nano-USD."""
