"""The one error of the static gate: which file, which rule it breaks, and what to do next."""

from __future__ import annotations

MAX_SHOWN = 120


class GateRefused(Exception):
    """Model files that are not loaded; the message is safe to show and holds nothing of a file's content."""

    def __init__(self, file: str, rule: str, next_step: str) -> None:
        """`file` is relative to the model's directory, "." = all of it; both sentences end with their full stop."""
        self.file = printable(file) or "."
        self.rule = rule
        self.next_step = next_step
        place = "" if self.file == "." else f"{self.file}: "
        super().__init__(f"{place}{rule} {next_step}")


def printable(name: str) -> str:
    """A file name that is safe in a terminal and in a log line: plain characters, not too many."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in name)
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 1] + "…"
