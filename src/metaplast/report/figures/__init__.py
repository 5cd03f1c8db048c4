"""The pictures of a run, of a sweep, and of the paper's experiments."""
