"""A child process that compiles every new grammar first: one that takes too long or too much ends the child alone.

The grammar library counts its own work nearly everywhere, but not where it proves that patterns intersect, and
native code can't be interrupted. What the child survived is compiled again in the worker, where it costs the same.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import subprocess
import sys
import threading
import time
from typing import IO

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from quintet.core.errors import EngineFailed, Overloaded

SECONDS = 1.5
"""What a grammar may take to compile."""
PATIENCE_SECONDS = 0.25
"""How long a grammar waits for the one before it, which as a rule takes 2 to 100 ms."""
START_SECONDS = 10.0
MEMORY_BYTES = 512 * 1024 * 1024
_CPU_SECONDS = 4
"""After so much processor time the kernel ends the child, in case that nobody else is left to do it."""
TOO_MUCH = "it takes too long or too much memory to compile"


def limits() -> LLParserLimits:
    """Bounds of one grammar: what compiling, and every single token, may cost (measured: 25 ms at worst)."""
    return LLParserLimits(
        max_items_in_row=2_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=100_000,
        step_max_items=20_000,
        max_lexer_states=30_000,  # 200 bytes each as a rule, 2 kB at worst
        max_grammar_size=100_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )


class Trial:
    """Compiles texts in the child, one at a time; thread-safe."""

    def __init__(self) -> None:
        """The child is started when it is first needed."""
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._busy_since: float | None = None

    def run(self, grammar: str) -> str:
        """Compile one text; returns what is wrong with it, or ""."""
        self._wait_turn()
        try:
            child = self._child or self._start()
            self._busy_since = time.monotonic()
            try:
                assert child.stdin is not None  # noqa: S101
                child.stdin.write(json.dumps(grammar).encode() + b"\n")
                child.stdin.flush()
                line = _read_line(child.stdout, SECONDS)
            except BrokenPipeError:
                line = b""
            if not line:
                self._end()
                return TOO_MUCH
            problem: str = json.loads(line)
            return problem
        finally:
            self._busy_since = None
            self._lock.release()

    def close(self) -> None:
        """End the child; safe to call twice."""
        with self._lock:
            self._end()

    def _wait_turn(self) -> None:
        """Take the lock; raises Overloaded rather than wait for a slow one, as others wait behind who ask for none."""
        while not self._lock.acquire(timeout=PATIENCE_SECONDS):
            since = self._busy_since
            if since is not None and time.monotonic() - since > PATIENCE_SECONDS:
                raise Overloaded(
                    "another new grammar is being compiled, which takes long; try again in a moment.",
                    retry_after=1,
                )

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "quintet.engines.text.grammar_trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it could repeat what callers sent
        )
        self._child = child
        if not _read_line(child.stdout, START_SECONDS):
            self._end()
            raise EngineFailed("grammars can't be checked just now; try again.")
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _read_line(pipe: IO[bytes] | None, seconds: float) -> bytes:
    """One whole line, or b"" if none comes in time or the other end is closed."""
    assert pipe is not None  # noqa: S101
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not poll.poll(remaining * 1000):
            return b""
        piece = pipe.read1(65536)  # type: ignore[attr-defined]
        if not piece:
            return b""
        line += piece
    return line


def main() -> None:
    """The child: one grammar per line in, one verdict per line out."""
    tokenizer = LLTokenizer("byte")
    bounds = limits()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(flush=True)
    for line in sys.stdin:
        used = int(time.process_time()) + _CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (used, resource.RLIM_INFINITY))
        matcher = LLMatcher(tokenizer, json.loads(line), log_level=0, limits=bounds)
        if not matcher.is_error():
            matcher.compute_bitmask()  # some texts match nothing, and some are too much for their first token
        print(json.dumps(matcher.get_error()), flush=True)


if __name__ == "__main__":
    main()
