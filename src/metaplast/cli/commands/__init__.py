"""The commands of `metaplast`, a module each: `main` runs it, the docstring is its help."""
