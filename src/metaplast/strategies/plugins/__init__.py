"""Avalanche's plugins against forgetting, corrected where they need it."""
