"""How far something is: a bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from quintet.weights.sizes import show_bytes

if TYPE_CHECKING:
    from quintet.core.events import Progress

STAGES: Final = {
    "wait": "waiting for another pull of the same model",
    "look": "asking the hub",
    "download": "downloading",
    "copy": "copying",
    "check": "checking",
    "convert": "converting",
    "install": "installing",
    "verify": "reading",
}
_LINE_SECONDS = 10.0
_CELLS = 24
_BYTES = frozenset({"download", "copy", "install", "verify"})


class Bar:
    """The progress of one thing; leave it as a context so that the terminal's line is cleared."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        """`quiet` says nothing where there is no terminal."""
        self._title = title
        self._is_quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._stage = ""
        self._began_at = 0.0
        self._began_with = 0.0
        self._said_at = 0.0

    def report(self, progress: Progress) -> None:
        """Show how far it is."""
        now = time.monotonic()
        is_new = progress.stage != self._stage
        if is_new:
            self._stage, self._began_at, self._began_with = progress.stage, now, progress.done
        elif not self._began_with and progress.done:
            self._began_at, self._began_with = (
                now,
                progress.done,
            )  # what an earlier pull had brought is no speed
        if self._is_terminal:
            self._draw(progress, now)
        elif not self._is_quiet and (is_new or now - self._said_at >= _LINE_SECONDS):
            self._said_at = now
            print(f"{self._title}: {self._text(progress, now)}", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal and self._stage:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self, progress: Progress, now: float) -> None:
        cells = int(_CELLS * min(1.0, progress.done / progress.total)) if progress.total else 0
        bar = f"[{'█' * cells}{' ' * (_CELLS - cells)}] " if progress.total > 1 else ""
        line = f"{self._title}: {bar}{self._text(progress, now)}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def _text(self, progress: Progress, now: float) -> str:
        words = STAGES.get(progress.stage, progress.stage)
        if progress.stage not in _BYTES or not progress.total:
            return f"{words} {progress.done:.0f}/{progress.total:.0f}" if progress.total > 1 else words
        text = f"{words} {show_bytes(progress.done)} of {show_bytes(progress.total)}"
        seconds = now - self._began_at
        speed = (progress.done - self._began_with) / seconds if seconds > 1 else 0.0
        if speed > 0 and progress.done < progress.total:
            text += f", {show_bytes(speed)}/s, {_duration((progress.total - progress.done) / speed)} left"
        return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
