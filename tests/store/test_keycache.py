"""The key cache: quick for the known, never wrong about the revoked, and never "wrong key" when the store is down."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quintet.core.errors import StoreUnavailable
from quintet.store.keycache import KeyCache
from quintet.store.keys import KeyStore, open_key_store


class Clock:
    """A monotonic clock that tests move by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def open_store(home: Path) -> KeyStore:
    return open_key_store(home / "quintet.db", home / "pepper")


@contextmanager
def locked_out(home: Path) -> Iterator[None]:
    """Hold the locks that every SQLite reader needs, from another process."""
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        descriptor = os.open(home / "quintet.db-shm", os.O_RDWR)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, 120)
        os.write(ready_write, b".")
        os.read(done_read, 1)
        os._exit(0)
    os.read(ready_read, 1)
    try:
        yield
    finally:
        os.write(done_write, b".")
        os.waitpid(child, 0)
        for descriptor in (ready_read, ready_write, done_read, done_write):
            os.close(descriptor)


def test_revocation_by_somebody_else_is_seen_at_the_next_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        cache = KeyCache(open_store(tmp_path), clock=clock)
        other = open_store(tmp_path)
        key, kept = other.create("ada"), other.create("bob")
        assert await cache.verify(key) is not None
        other.revoke(key.split("_")[1])
        clock.now += 0.3
        assert await cache.verify(key) is None
        assert await cache.verify(kept) is not None
        cache.close()

    asyncio.run(scenario())


def test_a_known_key_needs_no_database(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        store = open_store(tmp_path)
        cache = KeyCache(store, clock=clock, patience_seconds=0.5)
        known, unknown = store.create("ada"), store.create("bob")
        assert await cache.verify(known) is not None
        with locked_out(tmp_path):
            clock.now += 1
            assert await cache.verify(known) is not None
            assert await cache.verify(known[:-1] + "!") is None
            with pytest.raises(StoreUnavailable):
                await cache.verify(unknown)
            clock.now += 60
            with pytest.raises(StoreUnavailable):
                await cache.verify(known)
        assert await cache.verify(unknown) is not None
        cache.close()

    asyncio.run(scenario())


def test_a_wrong_secret_never_passes_by_the_cache(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = open_store(tmp_path)
        cache = KeyCache(store)
        key = store.create("ada")
        assert await cache.verify(key) is not None
        for wrong in (key[:-1] + ("a" if key[-1] != "a" else "b"), key[:14] + "x" * 43, ""):
            assert await cache.verify(wrong) is None
        cache.close()

    asyncio.run(scenario())


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = open_store(tmp_path)
        cache = KeyCache(store, capacity=3)
        for number in range(10):
            assert await cache.verify(store.create(f"owner{number}")) is not None
        assert len(cache._keys) <= 3
        cache.close()

    asyncio.run(scenario())
