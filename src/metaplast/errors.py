"""The one kind of error that is the user's to mend: it is shown as a line, without a traceback."""


class UserError(Exception):
    """Bad input or a missing resource. The message names the key, the value that came and what is allowed."""
