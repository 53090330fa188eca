"""An engine in a process of its own, so that contestants share the machine and nothing else.

In one process they share OpenVINO's threads, which slows both and not alike.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from importlib import import_module
from typing import Any


class Contestant:
    """What a part of the benchmark opens under a name, such as "ours"; it runs when asked and sleeps otherwise.

    The part is a module with `open_contestant(name)`, which returns the function that `run` calls.
    """

    def __init__(self, name: str, part: str = "bench.text_engine") -> None:
        """Start the process and wait until everything is loaded and has answered once."""
        self._command = [sys.executable, "-m", "bench.contestant", part, name]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._read()

    def run(self, *arguments: Any) -> Any:
        """Call the function with what JSON can say; returns what it returned."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant ended; `{' '.join(self._command)}` shows why")
        return json.loads(line)


def main() -> None:
    """The child: one line in, one line out."""
    run = import_module(sys.argv[1]).open_contestant(sys.argv[2])
    gc.collect()
    gc.freeze()  # as a worker does once its model is loaded
    print("null", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
