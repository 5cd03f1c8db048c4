"""Searching for the settings that keep most: a Hydra sweeper that asks an Optuna study what to try."""
