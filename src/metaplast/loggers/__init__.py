"""Where the rows of a run go: metrics.csv and W&B."""
