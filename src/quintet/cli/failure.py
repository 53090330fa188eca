"""The one way a command says that it could not do its work."""

from __future__ import annotations


class Failure(Exception):
    """Ends the command with one line on standard error; the line says what to do next."""

    def __init__(self, message: str, status: int = 1) -> None:
        """`status` becomes the exit status."""
        super().__init__(message)
        self.status = status
