"""Lines on standard error that can't block, lie or leak: one JSON object per line, written by its own thread.

A full pipe costs lines, never requests: what doesn't fit into the bounded queue is dropped and counted.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import queue
import threading
from typing import Any, Literal

Format = Literal["json", "text"]
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LineWriter:
    """Writes lines to a file descriptor from a thread of its own."""

    def __init__(self, descriptor: int, capacity: int = 8192) -> None:
        """At most `capacity` lines wait for a slow reader."""
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._capacity = capacity
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self.dropped = 0
        """Lines lost because nobody read the others."""

    def write(self, line: bytes) -> None:
        """Queue one line, or drop it; never waits."""
        if self._lines.qsize() >= self._capacity:
            self.dropped += 1
            return
        self._lines.put(line)
        if self._thread is None:
            self._start_thread()

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        """Wait until everything queued so far is written; False if that takes too long."""
        if self._thread is None:
            return True
        written = threading.Event()
        self._lines.put(written)
        return written.wait(timeout_seconds)

    def _start_thread(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            item = self._lines.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                while item:
                    item = item[os.write(self._descriptor, item) :]
            except OSError:
                self.dropped += 1


class Logger:
    """Formats events as lines: a name, and fields that are made safe here."""

    def __init__(self, writer: LineWriter, level: str = "info", line_format: Format = "json") -> None:
        """`level` is the least important level written."""
        self.writer = writer
        self.threshold = LEVELS[level]
        self.line_format = line_format

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Write one line. Fields must hold no secrets; control characters are escaped here."""
        if LEVELS[level] < self.threshold:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.line_format == "json":
            line = json.dumps({"time": now, "level": level, "event": event, **fields}, default=str)
        else:
            shown = " ".join(f"{key}={json.dumps(value, default=str)}" for key, value in fields.items())
            line = f"{now} {level:7} {event} {shown}"
        self.writer.write(line.encode("ascii", "backslashreplace") + b"\n")


class LoggingBridge(logging.Handler):
    """Sends the standard library's log records the same way, as single safe lines."""

    def __init__(self, logger: Logger) -> None:
        """Everything goes to `logger`."""
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an exception is named, and its traceback is one more field of the same line."""
        level = next((name for name, value in reversed(LEVELS.items()) if record.levelno >= value), "debug")
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = record.exc_info[0].__name__
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._logger.log(level, "log", **fields)


def connect_logging(logger: Logger) -> None:
    """Route the standard library's logging through `logger`."""
    root = logging.getLogger()
    root.handlers[:] = [LoggingBridge(logger)]
    root.setLevel(logging.WARNING)  # `logger` has a threshold of its own, which may change
