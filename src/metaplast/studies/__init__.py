"""Studies of hidden weights: the quadratic binary problem, and the cost of sign flips in trained networks."""
