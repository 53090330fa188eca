"""One worker process as the gateway sees it: started, spoken to over a socket pair, watched, killed."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import cast

from quintet.core.errors import LoadFailed, PayloadTooLarge, QuintetError
from quintet.core.events import Event, Finished
from quintet.core.models import Model
from quintet.core.ports import EngineInfo
from quintet.core.requests import Request
from quintet.runtime import frames
from quintet.runtime.mailbox import Mailbox

log = logging.getLogger(__name__)

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = (
    "LC_",
    "OMP_",
    "TBB_",
    "OV_",
    "OPENVINO_",
    "ZE_",
    "SYCL_",
    "CUDA_VISIBLE",
    "PYTHONWARN",
    "PYTHONDONT",
    "PYTHONHASH",
)


class Lost(Exception):
    """The worker went away under a request; `broken` = it said that its engine failed."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__()
        self.broken = broken


def worker_environment(environment: Mapping[str, str], granted: Collection[str] = ()) -> dict[str, str]:
    """What a worker may see of the gateway's environment: nothing that could be a secret, and no way online.

    `granted` are names that the operator's catalog lets one model's worker see beside.
    """
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    passed |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return passed | {name: environment[name] for name in granted if name in environment}


def granted_names(model: Model) -> set[str]:
    """The environment variables that a model's table names for its foreign server; nothing for other engines."""
    if model.engine != "upstream":
        return set()
    listed = (str(model.options.get(option, "")) for option in ("api_key_env", "environment"))
    names = {name.strip() for names in listed for name in names.split(",")}
    return {name for name in names if name and not name.startswith("QUINTET_")}


def _spawn(channel: socket.socket, model: Model) -> subprocess.Popen[bytes]:
    """Start a worker that inherits this end of the socket pair."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "quintet.runtime.worker", str(channel.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=2,  # our own standard error: what a library prints belongs into the log
        pass_fds=(channel.fileno(),),
        start_new_session=True,
        env=worker_environment(os.environ, granted_names(model)),
    )


class WorkerProcess(asyncio.Protocol):
    """The gateway's end of one worker. Used on one event loop; every method but `run` and `stop` is immediate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        self.info = EngineInfo()
        self.opened: asyncio.Future[None] = loop.create_future()
        """Done when the model is loaded; fails with LoadFailed."""
        self.down: asyncio.Future[None] = loop.create_future()
        """Done when the worker is lost, for whatever reason."""
        self.broken = False
        self.metrics = ""
        """Its engine's own metrics, if it has any."""
        self.last_frame = clock()
        self._clock = clock
        self._buffer = frames.FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._open: dict[int, tuple[Mailbox, str]] = {}
        self._left: dict[str, int] = {}
        """What was cancelled since the worker was last heard: digest → events delivered. A worker that hangs must
        be noticed, and the request that did it known, even if every caller has left before."""
        self.lost_under: dict[str, int] = {}
        """What ran when the worker was lost: digest → events delivered."""
        self._numbers = itertools.count(1)
        self._frames = 0

    @classmethod
    async def start(
        cls, model: Model, factory: str, prepare_seconds: float, clock: Callable[[], float]
    ) -> WorkerProcess:
        """Start a worker and send it its model; it is usable once `opened` is done."""
        worker = cls(clock)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                worker._process = _spawn(theirs, model)
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
        except BaseException:
            ours.close()
            await worker.stop(0)
            raise
        worker._send(frames.frame(frames.Open(model, factory, prepare_seconds)))
        return worker

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """How the process ended; negative = by that signal."""
        return self._process.returncode if self._process else None

    @property
    def in_flight(self) -> int:
        """How many requests are open."""
        return len(self._open)

    def silent_seconds(self) -> float:
        """How long requests, or the acknowledgement of a cancel, have been waiting without any sign of life."""
        return self._clock() - self.last_frame if self._open or self._left else 0.0

    def forgive(self, seconds: float) -> None:
        """Don't count so many seconds as silence, if any."""
        if seconds > 0:
            self.last_frame = min(self.last_frame + seconds, self._clock())

    async def run(self, request: Request, digest: str) -> AsyncGenerator[list[Event]]:
        """Events of one request, a frame's worth at a time; raises QuintetError, or `Lost`."""
        if self.down.done():
            raise Lost(broken=self.broken)
        number, mailbox = next(self._numbers), Mailbox()
        try:
            data = frames.submit_frame(number, request)
        except frames.FrameError:
            raise PayloadTooLarge("This request is larger than an engine takes; send less at once.") from None
        if not self._open and not self._left:
            self.last_frame = self._clock()
        self._open[number] = (mailbox, digest)
        try:
            self._send(data)
            del data  # megabytes, if there are pictures in it
            while True:
                events = await mailbox.take()
                yield events
                if type(events[-1]) is Finished:
                    return
        finally:  # no await here: it must also work while being cancelled
            if self._open.pop(number, None) is not None:
                self._left[digest] = mailbox.delivered
                self._send(frames.frame(frames.Cancel(number)))

    async def stop(self, grace_seconds: float) -> None:
        """Ask the worker to quit, then kill it; returns when the process is gone and reaped."""
        process = self._process
        if process is not None and process.returncode is None:
            if grace_seconds > 0 and not self.down.done():
                self._send(frames.frame(frames.Quit()))
                await asyncio.wait({self.down}, timeout=grace_seconds)
            self.kill()
            # Freeing a large model's memory takes the kernel a while.
            await asyncio.get_running_loop().run_in_executor(None, process.wait)
        if self._transport is not None:
            self._transport.abort()
        self._lose()

    def kill(self) -> None:
        """SIGKILL, at once; a stopped process dies of it too."""
        if self._process is not None:
            self._process.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket pair is connected (asyncio calls this)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the worker (asyncio calls this)."""
        self.last_frame = self._clock()
        self._left.clear()
        try:
            for body in self._buffer.feed(data):
                self._receive(frames.decode_from_worker(body))
        except frames.FrameError as error:
            log.error("worker %d sent a corrupt frame (%s); it is replaced", self.pid, error)
            self.kill()
            if self._transport is not None:
                self._transport.abort()
            self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker closed its end or died (asyncio calls this)."""
        self._lose()

    def _receive(self, message: frames.FromWorker) -> None:
        match message:
            case frames.Batch(outputs=outputs):
                self._frames += 1
                for number, kind, value in outputs:
                    entry = self._open.get(number)
                    if entry is not None:
                        self._deliver(number, entry[0], kind, value)
            case frames.Opened(info=info):
                self.info = info
                if not self.opened.done():
                    self.opened.set_result(None)
            case frames.Refused(fault=fault):
                self._refuse(frames.error_of(fault))
            case frames.Gauges(text=text):
                self.metrics = text
            case frames.Broken():
                self.broken = True

    def _deliver(self, number: int, mailbox: Mailbox, kind: int, value: frames.RawValue) -> None:
        output = frames.decode_output(kind, value)
        if isinstance(output, QuintetError):
            del self._open[number]
            mailbox.fail(output)
            return
        size = 0 if kind in frames.WHOLE_KINDS else memoryview(value).nbytes
        mailbox.put(output, size, self._frames)
        if mailbox.overflowed:
            del self._open[number]
            self._send(frames.frame(frames.Cancel(number)))
        elif type(output) is Finished:
            del self._open[number]

    def _refuse(self, error: QuintetError) -> None:
        if not self.opened.done():
            refusal = error if isinstance(error, LoadFailed) else LoadFailed(error.message)
            self.opened.set_exception(refusal)
            self.opened.exception()  # nobody may be waiting any more

    def _lose(self) -> None:
        """The worker is gone: end everything that hung on it."""
        if self.down.done():
            return
        self._refuse(LoadFailed("The model's worker died while loading; the server's log may say why."))
        waiting, self._open = self._open, {}
        self.lost_under |= self._left
        for mailbox, digest in waiting.values():
            self.lost_under[digest] = max(self.lost_under.get(digest, 0), mailbox.delivered)
            mailbox.fail(Lost(broken=self.broken))
        self.down.set_result(None)

    def _send(self, data: bytes | bytearray) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
