"""A foreign server that we started: its process, its words in our log, its end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from quintet.core.errors import LoadFailed

STOP_SECONDS = 4.0
"""The keeper asks, waits for three seconds, and kills."""
_MAX_LINE_BYTES = 2000
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Meant for our own workers, which never go online; an operator's command may, unless the operator names these."""


def command_environment(worker: Mapping[str, str], granted: str) -> dict[str, str]:
    """What a command may see: what its worker sees, which is an allow-list already."""
    named = {name.strip() for name in granted.split(",")}
    return {name: value for name, value in worker.items() if name not in _OFFLINE or name in named}


class Command:
    """One running command. Threads of its own pass its words on and notice its end."""

    def __init__(
        self, words: tuple[str, ...], *, name: str, secret: str, environment: Mapping[str, str]
    ) -> None:
        """`name` begins each of its lines in the log; `secret` is hidden there. Raises LoadFailed.

        To be called on a thread that lives as long as this process: the kernel watches the thread.
        """
        self._name = name
        self._secret = secret.encode()
        keeper = str(Path(__file__).with_name("keeper.py"))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed("The command of this model's server could not be started.") from error
        self._reader = threading.Thread(target=self._pass_on, name="upstream-log", daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def when_gone(self, tell: Callable[[int], None]) -> None:
        """Call `tell` with the exit code, on another thread, when the command has ended."""
        threading.Thread(
            target=lambda: tell(self._process.wait()), name="upstream-watch", daemon=True
        ).start()

    def stop(self) -> None:
        """End it and all that it started; returns when it is gone. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)

    def _pass_on(self) -> None:
        """Thread: its lines go to our standard error, or nowhere while nobody reads that."""
        stream = self._process.stdout
        if stream is None:
            return
        most = _MAX_LINE_BYTES + len(self._secret)  # so that no key is cut in two and then not known
        with stream:
            while line := stream.readline(most):
                is_cut = len(line) == most and not line.endswith(b"\n")
                write_line(f"upstream {self._name}: ".encode() + self._safe(line, is_cut=is_cut))
                while len(line) == most and not line.endswith(b"\n"):
                    line = stream.readline(most)

    def _safe(self, line: bytes, *, is_cut: bool) -> bytes:
        if self._secret:
            line = line.replace(self._secret, b"***")
            if is_cut:  # a key may begin at its end
                line = line[: len(line) - len(self._secret) + 1]
        text = line.decode(errors="replace").rstrip()
        safe = "".join(letter if letter.isprintable() else "?" for letter in text)
        return safe.encode()[:_MAX_LINE_BYTES]


def write_line(line: bytes) -> None:
    """One line on standard error. It is dropped while a full pipe would make us wait, or when nobody reads it."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    with suppress(OSError):
        if poll.poll(0):
            os.write(2, line + b"\n")
