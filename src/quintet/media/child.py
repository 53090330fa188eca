"""One decoding process as the gateway sees it: started, given one picture at a time, watched, ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from quintet.core.errors import EngineFailed, NotReady
from quintet.media import protocol
from quintet.media.rules import Refused, Rule

log = logging.getLogger(__name__)

START_SECONDS = 20.0
PATIENCE = 10.0
"""Wall-clock seconds that are waited for each second of processor time: engines keep all processors busy, too."""
_FULL = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""No more processes, memory or files for now."""
_PASSED_ON = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("LC_", "PYTHONDONT", "PYTHONHASH")


def _spawn(channel: socket.socket, memory_bytes: int, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "quintet.media", str(memory_bytes), str(seconds)],
        stdin=channel.fileno(),
        stdout=2,  # our own standard error, until the process has loaded its libraries
        start_new_session=True,
        env=child_environment(os.environ),
    )


class Vanished(Exception):
    """The process ended before it had got the whole picture, so the picture is not to blame."""


class Child:
    """A decoding process and our end of its socket. Not for two pictures at once."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, seconds: float) -> None:
        self._process = process
        self._channel = channel
        self._patience = seconds * PATIENCE

    @classmethod
    async def start(cls, memory_bytes: int, seconds: float) -> Child:
        """A process that is ready for work; raises NotReady or EngineFailed if it can't be had."""
        try:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    process = _spawn(theirs, memory_bytes, seconds)
            except BaseException:
                ours.close()
                raise
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.warning("no process to decode pictures could be started: %s", error.strerror)
            raise NotReady(
                "The machine is too busy to decode pictures just now. Try again in a moment.",
                code="resources_exhausted",
                retry_after=5,
            ) from None
        ours.setblocking(False)
        child = cls(process, ours, seconds)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child._receive(len(protocol.READY))
        except (OSError, EOFError, TimeoutError):
            await child.end()
            log.error("the decoding process did not start (status %s)", process.returncode)
            raise EngineFailed("Pictures can't be decoded just now; the server's log says why.") from None
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def normalise(self, data: bytes, max_side: int, is_mask: bool = False) -> bytes:
        """The picture made anew. Raises Refused; Refused or Vanished, too, if the process is lost: end it then."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                try:
                    head = protocol.REQUEST.pack(max_side, is_mask, len(data))
                    await loop.sock_sendall(self._channel, head)
                    await loop.sock_sendall(self._channel, data)
                    await self._receive(len(protocol.ACCEPTED))
                except (OSError, EOFError):
                    raise Vanished from None
                verdict, length = protocol.REPLY.unpack(await self._receive(protocol.REPLY.size))
                if length > protocol.max_reply_bytes(max_side):
                    raise EOFError  # not a word of ours: the process is no longer itself
                picture = await self._receive(length)
            if verdict != protocol.TAKEN:
                raise Refused(Rule(verdict))
        except TimeoutError:
            await self.end()
            raise Refused(Rule.TOO_SLOW) from None
        except (OSError, EOFError, ValueError):
            await self.end()
            raise Refused(self._reason()) from None
        return picture

    async def end(self) -> None:
        """Kill the process and wait until it is gone; safe to call twice."""
        self._channel.close()
        if self._process.returncode is None:
            self._process.kill()
            await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def _reason(self) -> Rule:
        """Which rule a picture broke under which the process died."""
        return Rule.TOO_SLOW if self._process.returncode == -signal.SIGPROF else Rule.CRASHED

    async def _receive(self, length: int) -> bytes:
        """Exactly so many bytes, without the copies of a buffering reader; raises EOFError if the process hung up."""
        loop = asyncio.get_running_loop()
        buffer = bytearray(length)
        with memoryview(buffer) as whole:
            filled = 0
            while filled < length:
                count = await loop.sock_recv_into(self._channel, whole[filled:])
                if not count:
                    raise EOFError
                filled += count
        return bytes(buffer)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the process may see of the gateway's environment: nothing that could be a secret."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    # Large blocks go back to the kernel when they are freed, so that one huge picture leaves nothing behind.
    return passed | {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "2"}
