"""Studies beside the training of tasks: the quadratic binary problem, and what the size of a hidden weight is worth."""
