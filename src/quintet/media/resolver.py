"""Asks the system for the addresses of a name, on threads of its own that nobody waits for at the end.

The event loop's own executor would do, but a name server that never answers holds a thread for half a minute, and
then everything else that needs that executor waits with it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to all its addresses, best first; raises OSError."""
MAX_LOOKUPS = 64
"""Threads that may wait for name servers at once, those given up included."""
_MAX_ANSWERS = 64
"""Honest names have a dozen at most, and each has to be judged."""


class SystemResolver:
    """The system's resolver, asked anew every time."""

    def __init__(self, max_lookups: int = MAX_LOOKUPS) -> None:
        self._free = threading.BoundedSemaphore(max_lookups)

    async def __call__(self, name: str) -> Sequence[str]:
        """All addresses of a plain ASCII name; raises OSError. Cancelling leaves the thread to its end."""
        if not self._free.acquire(blocking=False):
            raise OSError("too many lookups")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def run() -> None:
            found: Sequence[str] | OSError
            try:
                found = look_up(name)
            except OSError as error:
                found = error
            finally:
                self._free.release()
            with suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(_settle, answer, found)

        try:
            threading.Thread(target=run, name="look-up", daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise OSError("no more threads") from None
        return await answer


def look_up(name: str) -> Sequence[str]:
    """All addresses of a name, each once; raises OSError."""
    # As bytes, so that the codec for international names has no say.
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if len(addresses) > _MAX_ANSWERS:
        raise OSError("too many addresses")
    return addresses


def _settle(answer: asyncio.Future[Sequence[str]], found: Sequence[str] | OSError) -> None:
    if answer.done():
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)
