"""How a command ends: its exit statuses."""

FAILED = 1
"""The run broke off; also the status of an error in our own code."""
REFUSED = 2
"""The command line or the configuration cannot be: nothing was started and nothing was written."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 + SIGINT."""
PIPE_CLOSED = 141
"""Nobody reads what is printed any more: 128 + SIGPIPE."""
TERMINATED = 143
"""Asked to end, by a scheduler for one: 128 + SIGTERM."""
