"""Studies that train no network on tasks: the quadratic binary problem."""
