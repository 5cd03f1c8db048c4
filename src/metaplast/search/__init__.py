"""Searches over hyperparameters: Hydra sweepers that choose their jobs as they go."""
