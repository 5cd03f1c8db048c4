"""The exceptions that keep Hydra from commenting on an error first."""


class Carried(BaseException):
    """Carries its cause out through Hydra, which would turn an Exception of a callback into a warning."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class JobError(Exception):
    """A job of a multirun failed, and said why. An Exception, so that Hydra goes on with the other jobs."""
