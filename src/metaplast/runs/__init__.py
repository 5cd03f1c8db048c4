"""The directory of a run: its files, their formats, and how the run stands. Nothing here imports torch."""
