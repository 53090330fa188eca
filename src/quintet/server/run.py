"""Runs one server in this process: binds, serves, says when it is ready, and goes down politely."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace

import uvicorn
import uvloop

from quintet.config import HOME_VARIABLE, ConfigError, Settings, read_settings
from quintet.core.errors import QuintetError
from quintet.log import LEVELS, LineWriter, Logger, connect_logging
from quintet.runtime.catalog import CatalogError
from quintet.server.app import Gateway, build
from quintet.server.protocol import Guard, make_protocol
from quintet.store.database import StoreBroken
from quintet.store.keys import KeyStore, open_key_store

LAST_WORDS_SECONDS = 2.0
"""For interrupted requests to send their error, once the drain time is over."""
BACKLOG = 2048
LARGE_BLOCK_BYTES = 256 * 1024
"""Blocks of this size and more go back to the system as soon as they are freed."""
_M_MMAP_THRESHOLD = -3

log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until a signal ends it; returns the exit status. Mistakes are printed as one line each."""
    logger = Logger(LineWriter(sys.stderr.fileno()), settings.log.level, settings.log.format)
    connect_logging(logger)
    # It reports streams that we break off on purpose as errors; real ones are logged by our own front.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    _set_limits()
    try:
        store = open_key_store(settings.database_path, settings.pepper_path)
    except StoreBroken as error:
        return _refuse_to_start(str(error))
    try:
        listener = _bind(settings)
    except OSError as error:
        store.database.close()
        return _refuse_to_start(_explain_bind(settings, error))
    try:
        gateway = build(settings, store, logger)
    except (ConfigError, CatalogError) as error:
        listener.close()
        store.database.close()
        return _refuse_to_start(str(error))
    _greet(settings, store)
    gc.collect()
    gc.freeze()  # what is here now stays for good; full collections need not look at it again
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Run(gateway, listener).until_stopped())
    gateway.keys.close()
    store.database.close()
    logger.writer.flush()
    return 0


class Run:
    """One server from listening to its end."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        """`listener` is bound already, so that a taken port is found out before anything is started."""
        self._gateway = gateway
        self._listener = listener
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        guard = Guard(
            header_seconds=gateway.settings.deadlines.header_seconds,
            sockets_per_address=lambda address: self._gateway.sockets_per_address(address),
            on_refused=gateway.journal.note_refused,
        )
        self._server = _Server(
            uvicorn.Config(
                gateway.app,
                http=make_protocol(guard),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=round(gateway.settings.deadlines.keep_alive_seconds),
                timeout_graceful_shutdown=1,
            )
        )

    async def until_stopped(self) -> None:
        """Serve, and come back once everything has ended."""
        self._gateway.files.clear_leftovers()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._server.serve(sockets=[self._listener]))
            loading = tasks.create_task(self._load())
            stopping = tasks.create_task(self._stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            loading.cancel()
            await self._drain()
            self._server.should_exit = True
            await serving
            stopping.cancel()
        await self._gateway.service.close(0.0)
        self._gateway.files.close()

    async def _load(self) -> None:
        """Task: load what is to be loaded at start, then say that the server is ready."""
        settings, service = self._gateway.settings, self._gateway.service
        await self._server.listening.wait()
        problems: list[str] = []
        for name in settings.preloaded:
            try:
                await service.ensure_ready(service.resolve(name))
            except QuintetError as error:
                problems.append(f"{name}: {error.message}")
            except Exception:
                log.exception("model %s could not be loaded", name)
                problems.append(f"{name}: see the log")
        for problem in problems:
            _say(f"This model could not be loaded at start. {problem}")
        url = _url(settings.host, self._listener.getsockname()[1])
        _say(f"Quintet is {'up, but not ready,' if problems else 'ready'} at {url}")

    async def _drain(self) -> None:
        """Let requests in flight finish, for so long as we are given; then tell the rest."""
        drain, seconds = self._gateway.drain, self._gateway.settings.drain_seconds
        drain.begin()
        self._gateway.service.admission.drain()
        await self._gateway.pulls.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()  # closes the idle ones, and the others after their answer
        if drain.in_flight:
            _say(
                f"Going down: {drain.in_flight} requests may finish within {seconds:g} s. Signal again to hurry."
            )
        async with asyncio.TaskGroup() as tasks:
            idle = tasks.create_task(drain.wait_idle(seconds))
            hurry = tasks.create_task(self._hurry.wait())
            await asyncio.wait({idle, hurry}, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            hurry.cancel()
        drain.interrupt_all()
        await drain.wait_idle(LAST_WORDS_SECONDS)

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _reload(self) -> None:
        """SIGHUP: take over what can change while serving – bans, socket caps and the log level."""
        logger = self._gateway.logger
        try:
            settings = read_settings({**os.environ, HOME_VARIABLE: str(self._gateway.settings.home)})
        except ConfigError as error:
            logger.log("error", "reload", problem=str(error))
            return
        auth = settings.auth
        self._gateway.bans.configure(
            failures=auth.ban_failures, ban_seconds=auth.ban_seconds, forget_seconds=auth.forget_seconds
        )
        # Of the limits, only the socket caps are looked at again.
        current = self._gateway.settings.model_copy(update={"limits": settings.limits})
        self._gateway = replace(self._gateway, settings=current)
        logger.threshold = LEVELS[settings.log.level]
        logger.log("info", "reload")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, and with an event for when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)  # two sockets may be bound to one port, but only one of them may listen
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain_bind(settings: Settings, error: OSError) -> str:
    where = _url(settings.host, settings.port)
    if "in use" in str(error):
        return f"Something listens on {where} already. Stop it, or choose another port with QUINTET_PORT."
    return f"Can't listen on {where}: {error.strerror}. Choose another address with QUINTET_HOST and QUINTET_PORT."


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(settings: Settings, store: KeyStore) -> None:
    if settings.local_allowed:
        _say("Requests from this machine need no key.")
    elif not any(key.revoked is None for key in store.list()):
        _say("Every request needs a key, and there is none yet. Make one: quintet keys create --owner NAME")


def _refuse_to_start(message: str) -> int:
    print(f"quintet: {message}", file=sys.stderr, flush=True)
    return 1


def _say(line: str) -> None:
    """A line for the person who started the server."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _set_limits() -> None:
    """As many open files as we may have, and no core dumps: they would hold keys and prompts."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Left alone, glibc takes ever larger blocks from its heaps, and what pictures took once never goes back.
    with contextlib.suppress(AttributeError, OSError):  # other C libraries have no such knob
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
