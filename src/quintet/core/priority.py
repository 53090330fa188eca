"""How a process of Quintet steps back behind the others of the machine."""

from __future__ import annotations

import os
import time

_TRIES, _PAUSE_SECONDS = 20, 0.1


def step_back(niceness: int) -> None:
    """Make this thread, and those it will start, that much nicer; before a library starts threads of its own.

    Where Linux shares processors out by session (sched_autogroup), niceness alone counts only among the processes of
    one session, and every worker is a session: so the session's own is set, too (sched(7), "The autogroup feature").
    """
    os.nice(niceness)
    for _ in range(_TRIES):
        try:
            with open("/proc/self/autogroup", "r+b", buffering=0) as session:
                session.write(str(niceness).encode())
            return
        except BlockingIOError:  # the kernel takes ten such wishes a second, from all processes together
            time.sleep(_PAUSE_SECONDS)
        except OSError:  # no such thing here
            return
