"""Finished files behind links that nobody can guess: kept for a while on disk, then gone.

Each server has a folder of its own, locked while it lives; what dead servers left behind is removed at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quintet.core.errors import InsufficientStorage, NotFound
from quintet.core.events import Media
from quintet.dialects.base import Reply
from quintet.server.addresses import AddressBook
from quintet.server.exchange import Exchange

log = logging.getLogger(__name__)

ROUTE = "/files/{name}"
TOKEN_BYTES = 32
SUFFIXES = {
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "video/mp4": ".mp4",
}
"""Types that are given out under their own name; anything else is bytes to a browser."""
LOCK = "lock"
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class _Kept:
    """One file."""

    path: Path
    mime: str
    size: int
    expires: float


class Files:
    """The files of one server. Lives on one event loop; `publish` may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_seconds: float,
        max_bytes: int,
        base_url: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` is shared by all servers of one home. Beyond `max_bytes` in all, the oldest go first.

        `base_url` is the server's own, if links shall not begin with what the caller called it.
        """
        self._shared = folder
        self._base_url = base_url.rstrip("/")
        self._keep_seconds = keep_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._changing = threading.Lock()
        self._kept: dict[str, _Kept] = {}  # oldest first
        self._folder: Path | None = None
        self._lock = -1
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.held_bytes = 0
        """The size of all files."""

    def publisher(self, exchange: Exchange, addresses: AddressBook) -> Callable[[Media], str]:
        """Makes links for one request: absolute ones, under the name by which the caller reached the server."""
        self._loop = asyncio.get_running_loop()
        base = self._base_url or origin(exchange, addresses)
        return lambda media: base + self.publish(media)

    def publish(self, media: Media) -> str:
        """Keep a file; returns the path of its link. Raises InsufficientStorage."""
        size = len(media.data)
        if size > self._max_bytes:
            raise InsufficientStorage(
                "The file is larger than all that this server keeps behind links. Ask for its bytes instead."
            )
        path = self._write(media.data)
        name = secrets.token_urlsafe(TOKEN_BYTES) + SUFFIXES.get(media.mime, "")
        mime = media.mime if media.mime in SUFFIXES else "application/octet-stream"
        with self._changing:
            self._forget_expired()
            while self.held_bytes + size > self._max_bytes:
                self._forget(next(iter(self._kept)))
            self._kept[name] = _Kept(path, mime, size, self._clock() + self._keep_seconds)
            self.held_bytes += size
        (self._loop or asyncio.get_running_loop()).call_soon_threadsafe(self._set_timer)
        return ROUTE.format(name=name)

    async def show(self, exchange: Exchange) -> Reply:
        """GET /files/{name}: whoever knows the link may have the file. Raises NotFound."""
        with self._changing:
            self._forget_expired()
        kept = self._kept.get(exchange.scope["path_params"]["name"])
        data: bytes | None = None
        if kept is not None:
            with contextlib.suppress(OSError):  # it may go while it is being read
                data = await asyncio.to_thread(kept.path.read_bytes)
        if kept is None or data is None:
            raise NotFound("There is no such file, or it is there no more. Ask for a new one.")
        left = max(0, int(kept.expires - self._clock()))
        return Reply(
            body=data, content_type=kept.mime, headers=(("cache-control", f"private, max-age={left}"),)
        )

    def clear_leftovers(self) -> None:
        """Remove the folders of servers that ended without doing so."""
        try:
            found = [path for path in self._shared.iterdir() if path.is_dir() and not path.is_symlink()]
        except FileNotFoundError:
            return
        for path in found:
            with contextlib.suppress(OSError):
                lock = _try_lock(path / LOCK)
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)

    def close(self) -> None:
        """Remove everything; safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        self._kept.clear()
        self.held_bytes = 0
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(self._lock)

    def _write(self, data: bytes) -> Path:
        try:
            with self._changing:
                folder = self._own_folder()
            path = folder / str(next(self._numbers))
            with open(path, "xb", opener=_private) as file:
                file.write(data)
        except OSError as error:
            log.warning("a file for a link could not be written: %s", error.strerror)
            raise InsufficientStorage(
                "The server can't keep files just now. Ask for the bytes instead, or try again later."
            ) from None
        return path

    def _own_folder(self) -> Path:
        """Made when first needed, so that servers without pictures leave nothing on disk."""
        if self._folder is None:
            self._shared.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = self._shared / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            lock = _try_lock(folder / LOCK)
            if lock is None:
                raise OSError("its own folder is locked by somebody else")
            self._folder, self._lock = folder, lock
        return self._folder

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).expires <= now:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name)
        self.held_bytes -= kept.size
        kept.path.unlink(missing_ok=True)

    def _set_timer(self) -> None:
        """See to it that files go when their time is over, even if nobody asks for any."""
        with self._changing:
            oldest = next(iter(self._kept.values()), None)
        if self._timer is None and oldest is not None:
            seconds = oldest.expires - self._clock()
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        with self._changing:
            self._forget_expired()
        self._set_timer()


def origin(exchange: Exchange, addresses: AddressBook) -> str:
    """Scheme and host under which the caller reached this server, believing trusted proxies alone about both."""
    client = exchange.scope.get("client")
    is_proxied = client is not None and addresses.is_trusted(client[0])
    scheme, host = str(exchange.scope.get("scheme", "http")), _last(exchange, b"host")
    if is_proxied:
        told = _last(exchange, b"x-forwarded-proto").lower()
        scheme = told if told in ("http", "https") else scheme
        told = _last(exchange, b"x-forwarded-host")
        host = told if _HOST.fullmatch(told) else host
    return f"{scheme}://{host}"


def _last(exchange: Exchange, name: bytes) -> str:
    """What the nearest proxy says: further ones, and whoever asks, can only write before it."""
    values = exchange.headers(name)
    return values[-1].decode("latin-1").rpartition(",")[2].strip() if values else ""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _try_lock(path: Path) -> int | None:
    """The locked file, or None if its owner lives; raises OSError only if it can't be made."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
