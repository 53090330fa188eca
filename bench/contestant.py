"""An engine in a process of its own, so that contestants share the machine and nothing else.

In one process they share OpenVINO's threads, which slows both and not alike.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from functools import partial

from bench import shapes


class Contestant:
    """A loaded engine, "ours" or "genai", that runs when asked and sleeps otherwise."""

    def __init__(self, name: str) -> None:
        """Start the process and wait until the model is loaded and has answered once."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.contestant", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.run(1, "greedy")

    def run(self, count: int, sampling: str) -> float:
        """Answer `count` random prompts at once; new tokens per second, prefill included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([count, sampling]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def main() -> None:
    """The child: one line in, one figure out."""
    from bench import text_engine

    directory = shapes.smollm2_135m()
    if sys.argv[1] == "ours":
        run = partial(text_engine.run_ours, text_engine.open_ours(directory))
    else:
        run = partial(text_engine.run_genai, text_engine.open_genai(directory))
    gc.collect()
    gc.freeze()  # as a worker does once its model is loaded
    for line in sys.stdin:
        count, name = json.loads(line)
        print(run(text_engine.prompts(count), text_engine.SAMPLINGS[name]), flush=True)


if __name__ == "__main__":
    main()
