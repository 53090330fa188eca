"""The process that decodes what strangers sent: `python -m quintet.media MEMORY_BYTES SECONDS`.

Speaks frames of `quintet.media.protocol` on its standard input, a socket; ends when that is closed. It opens no
files, writes none, starts nothing and says nothing: whatever a picture does to it, the gateway sees an end or a number.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys

from PIL import Image

from quintet.core.priority import step_back
from quintet.media import protocol
from quintet.media.images import normalise
from quintet.media.rules import MAX_FILE_BYTES, Refused

NICENESS = 10
MAX_OPEN_FILES = 16
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def main() -> int:
    """Serve one picture after the other until the gateway hangs up; returns the exit status."""
    memory_bytes, seconds = int(sys.argv[1]), float(sys.argv[2])
    _die_with_parent()
    Image.init()  # nothing is imported once files can't be opened
    with socket.socket(fileno=0) as channel:
        _limit(memory_bytes)
        channel.sendall(protocol.READY)
        while header := _receive(channel, protocol.REQUEST.size):
            max_side, is_mask, length = protocol.REQUEST.unpack(header)
            if length > MAX_FILE_BYTES:
                return 1
            data = _receive(channel, length)
            channel.sendall(protocol.ACCEPTED)
            _answer(channel, data, max_side, is_mask, seconds)
    return 0


def _answer(channel: socket.socket, data: bytes, max_side: int, is_mask: bool, seconds: float) -> None:
    # Native code can't be interrupted: once its processor time is up, the kernel ends this process.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        picture, verdict = normalise(data, max_side=max_side, is_mask=is_mask), protocol.TAKEN
    except Refused as refusal:
        picture, verdict = b"", int(refusal.rule)
    signal.setitimer(signal.ITIMER_PROF, 0)
    channel.sendall(protocol.REPLY.pack(verdict, len(picture)))
    channel.sendall(picture)


def _receive(channel: socket.socket, length: int) -> bytes:
    """Exactly so many bytes; none if the gateway hung up."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = channel.recv_into(view)
        if not count:
            return b""
        view = view[count:]
    return bytes(buffer)


def _die_with_parent() -> None:
    """Make the kernel end this process with the gateway, and leave signals of the terminal to the gateway."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _limit(memory_bytes: int) -> None:
    """Take away what decoding doesn't need; from here on errors have no place to be printed."""
    step_back(NICENESS)
    _leave_a_core()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.close(silence)
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_AS: memory_bytes,
    }
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # the operator's own limit is tighter
            resource.setrlimit(limit, (value, value))


def _leave_a_core() -> None:
    """Keep off one core: a text step ends with its slowest thread, so decoding on every core slows each step."""
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
        if len(cores) > 1:
            os.sched_setaffinity(0, cores - {min(cores)})


if __name__ == "__main__":
    sys.exit(main())
