"""Continual-learning methods beside the optimizer: Avalanche plugins under Lightning, corrected where necessary."""
