"""Keeps verified keys at hand, so that most requests are authenticated without touching the database.

Decision: a cached key costs one HMAC (about 2 µs) on the event loop; everything that touches the database runs
in a thread of its own pool, because a lock held by somebody else may make it wait; nobody waits longer than
`patience_seconds` for it. A revocation by another process is seen
within `poll_seconds`: SQLite's `data_version` tells whether anybody has committed since. While the database can't
be read, known keys stay valid for `max_age_seconds` and unknown ones are StoreUnavailable, never "wrong".
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection

from quintet.core.errors import StoreUnavailable
from quintet.core.identity import Principal
from quintet.store.database import translated
from quintet.store.keys import Key, KeyStore, split_key


class KeyCache:
    """Verifies keys for one event loop."""

    def __init__(
        self,
        store: KeyStore,
        *,
        poll_seconds: float = 0.25,
        max_age_seconds: float = 60.0,
        patience_seconds: float = 2.5,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._store = store
        self._poll_seconds = poll_seconds
        self._max_age_seconds = max_age_seconds
        self._patience_seconds = patience_seconds
        self._capacity = capacity
        self._clock = clock
        self._keys: OrderedDict[str, tuple[Key, float]] = OrderedDict()
        self._polled = -1e9
        self._version: int | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="key-store")
        self._poll_running: asyncio.Future[None] | None = None

    async def verify(self, token: str) -> Principal | None:
        """Who holds this key, or None if it opens nothing; raises StoreUnavailable."""
        parts = split_key(token)
        if parts is None:
            return None
        key_id, secret = parts
        now = self._clock()
        if now - self._polled >= self._poll_seconds:
            await self._poll(now)
        cached = self._keys.get(key_id)
        if cached is not None and now - cached[1] < self._max_age_seconds:
            return self._store.match(cached[0], secret)
        return self._store.match(await self._find(key_id, now), secret)

    async def _find(self, key_id: str, now: float) -> Key | None:
        version = self._version
        search = asyncio.get_running_loop().run_in_executor(self._threads, self._store.find, key_id)
        try:
            key = await asyncio.wait_for(search, self._patience_seconds)
        except TimeoutError:
            raise StoreUnavailable(
                "The key store is too slow now. Try again shortly.", retry_after=2
            ) from None
        if key is not None and version == self._version:  # else it may have been revoked while we read
            self._keys[key_id] = (key, now)
            while len(self._keys) > self._capacity:
                self._keys.popitem(last=False)
        return key

    async def _poll(self, now: float) -> None:
        """Look for commits by others; one look at a time, and a stuck one delays nobody twice."""
        if self._poll_running is None or self._poll_running.done():
            self._polled = now
            self._poll_running = asyncio.get_running_loop().run_in_executor(
                self._threads, self._compare_version
            )
            await asyncio.wait({self._poll_running}, timeout=self._poll_seconds)

    def _compare_version(self) -> None:
        """Forget everything if somebody has committed; keep it while the database can't be read."""
        with self._lock, contextlib.suppress(StoreUnavailable):
            version = self._read_version()
            if version != self._version:
                self._keys = OrderedDict()
                self._version = version

    def _read_version(self) -> int:
        """SQLite's counter of commits by others; it only counts on a connection that stays open."""
        with translated():
            if self._connection is None:
                self._connection = self._store.database.engine.connect()
                self._connection.detach()
                self._connection.exec_driver_sql(
                    "PRAGMA busy_timeout=0"
                )  # a locked database must not delay the known
            version = int(self._connection.exec_driver_sql("PRAGMA data_version").scalar_one())
            self._connection.rollback()
        return version

    def close(self) -> None:
        """Give the connection and the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
