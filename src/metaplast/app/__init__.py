"""The command: compose, check and refuse a configuration; run it; say what went wrong."""
