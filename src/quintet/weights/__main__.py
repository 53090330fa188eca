"""The process in which a server pulls one model: `python -m quintet.weights HOME`.

Reads the order as one line of JSON from standard input, writes JSON lines about its progress to standard output,
and ends at once when standard input is closed, so that it never outlives the server that started it.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from quintet.core.errors import LoadFailed, QuintetError
from quintet.core.events import Progress
from quintet.weights.library import Library
from quintet.weights.order import Order
from quintet.weights.progress import Advanced, Ended, Line, encode_line, failed

EXIT_FAILED, EXIT_ORPHANED = 1, 5


def main() -> int:
    """Pull what is ordered; returns the exit status."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints belongs into the log

    def say(line: Line) -> None:
        data = memoryview(encode_line(line))
        while data:
            data = data[os.write(out, data) :]

    def report(progress: Progress) -> None:
        say(Advanced(stage=progress.stage, done=progress.done, total=progress.total))

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from quintet.weights.pull import Pull

        outcome = Pull(Library(Path(sys.argv[1])), order, report).run()
    except QuintetError as error:
        say(failed(error))
        return EXIT_FAILED
    except Exception:
        traceback.print_exc()
        say(failed(LoadFailed("The pull failed; the server's log says why.")))
        return EXIT_FAILED
    manifest = outcome.installed.manifest
    say(
        Ended(
            name=manifest.name, size=manifest.size_bytes, revision=manifest.revision, already=outcome.already
        )
    )
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1024):
        continue
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
