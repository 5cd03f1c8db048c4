"""Comparison with Avalanche's own training loop, for tests and documentation."""
