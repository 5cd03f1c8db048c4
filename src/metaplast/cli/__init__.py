"""The command: from the arguments to an exit status."""
