"""The child process that holds one loaded model: `python -m quintet.runtime.worker FD`.

Three kinds of threads: the reader takes frames from the gateway, preparers run `Engine.prepare`, and the main
thread alone steps the engine and writes frames. This is the only place where foreign exceptions become domain
errors: their text goes to standard error, never to a client.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import queue
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from quintet.core.errors import EngineFailed, LoadFailed, QuintetError
from quintet.core.events import Finished
from quintet.core.models import Model
from quintet.core.ports import Engine, Measured, Output
from quintet.core.priority import step_back
from quintet.core.requests import Request
from quintet.runtime import frames

BEAT_SECONDS = 1.0
"""How often a sign of life is sent while requests are open and nothing else is to be said."""
GAUGES_SECONDS = 2.0
"""How often an engine with metrics of its own is asked for them."""
PREPARERS = 2
HEAVY_NICENESS = 10
"""Of workers that look at pictures, draw them, or listen."""
EXTRAS = {"image": "images", "speech": "speech"}
"""Which extra of the package brings what an engine needs."""
EXIT_REFUSED, EXIT_BROKEN, EXIT_ORPHANED = 3, 4, 5
_PR_SET_PDEATHSIG = 1
_SWITCH_SECONDS = 0.001
"""How long a preparer may keep the interpreter from the stepping thread."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What `Engine.prepare` returned, or the error it raised."""

    request_id: int
    value: object
    error: QuintetError | None = None


_Item = frames.Submit | frames.Cancel | frames.Quit | _Prepared


class Worker:
    """Drives one engine for one gateway."""

    def __init__(self, channel: socket.socket, incoming: Iterator[bytes]) -> None:
        self._channel = channel
        self._incoming = incoming
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._queued: dict[int, Future[None]] = {}
        """Preparations that are not over; the reader may still call off those that no preparer has taken up."""
        self._preparing: set[int] = set()
        """Requests that are not prepared yet."""
        self._prepared_since: dict[int, float] = {}
        """When a preparer took up a request, cancelled or not (monotonic seconds); preparers write it."""
        self._running: set[int] = set()
        self._last_sent = time.monotonic()
        self._measured: Measured | None = None
        self._gauges = ""
        self._gauges_since = 0.0

    def serve(self) -> int:
        """Load the model, then work until told to quit; returns the exit code."""
        opening = frames.decode_to_worker(next(self._incoming))
        if not isinstance(opening, frames.Open):
            raise frames.FrameError("the first frame must name the model")
        if opening.model.is_heavy:
            step_back(HEAVY_NICENESS)  # of this thread and those it starts, so before the engine has any
        engine = self._open(opening)
        if engine is None:
            return EXIT_REFUSED
        self._measured = engine if isinstance(engine, Measured) else None
        gc.collect()
        gc.freeze()  # what the load left behind is looked at no more while tokens are waited for
        self._send(frames.frame(frames.Opened(engine.info())))
        with ThreadPoolExecutor(PREPARERS, thread_name_prefix="prepare") as preparers:
            threading.Thread(target=self._read, args=(engine, preparers), name="reader", daemon=True).start()
            try:
                while self._turn(engine):
                    self._check_preparers(opening.prepare_seconds)
            except Exception:  # foreign, so the engine's state is unknown
                traceback.print_exc()
                self._send(frames.frame(frames.Broken()))
                sys.stderr.flush()
                os._exit(EXIT_BROKEN)
            preparers.shutdown(wait=False, cancel_futures=True)
            engine.close()
        return 0

    def _open(self, opening: frames.Open) -> Engine | None:
        """The loaded engine; on failure the reason is sent and None returned."""
        error: QuintetError
        try:
            factory = resolve_factory(opening.factory)
            return factory(self._with_fault_door(opening.model))
        except QuintetError as refusal:
            error = refusal
        except ModuleNotFoundError as missing:
            traceback.print_exc()
            error = _lacking(opening.model.engine, (missing.name or "").partition(".")[0])
        except MemoryError:
            error = LoadFailed("The model does not fit into memory; free some or choose a smaller model.")
        except Exception:  # foreign: the text may hold paths, so it stays in the log
            traceback.print_exc()
            error = LoadFailed("The model could not be loaded; the server's log says why.")
        self._send(frames.frame(frames.Refused(frames.fault_of(error))))
        return None

    def _with_fault_door(self, model: Model) -> Model:
        """Let an engine with fault switches reach the socket, so that tests can make it send garbage."""
        if model.options.get("faults") is not True:
            return model
        return replace(model, options={**model.options, "frame_fd": self._channel.fileno()})

    def _read(self, engine: Engine, preparers: ThreadPoolExecutor) -> None:
        """Thread: pass the gateway's frames on. The gateway's end closing ends this process at once."""
        try:
            for body in self._incoming:
                message = frames.decode_to_worker(body)
                if isinstance(message, frames.Open):
                    raise frames.FrameError("a model is open already")
                self._inbox.put(message)  # before its preparation, so that the main thread sees both in order
                if isinstance(message, frames.Submit):
                    self._queue(preparers.submit(self._prepare, engine, message), message.request_id)
                elif isinstance(message, frames.Cancel) and (queued := self._queued.get(message.request_id)):
                    queued.cancel()  # else callers that gave up would keep those behind them waiting
        except Exception:  # a broken gateway is as good as a dead one
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(EXIT_ORPHANED)

    def _queue(self, preparation: Future[None], number: int) -> None:
        """Remember a preparation until it is over."""
        self._queued[number] = preparation
        preparation.add_done_callback(lambda _: self._queued.pop(number, None))

    def _prepare(self, engine: Engine, message: frames.Submit) -> None:
        """Thread: do the part of a request that needs no engine state."""
        number = message.request_id
        request: Request
        self._prepared_since[number] = time.monotonic()
        try:
            request = frames.decode_request(message)
            self._inbox.put(_Prepared(number, engine.prepare(request)))
        except QuintetError as error:
            self._inbox.put(_Prepared(number, None, error))
        except BaseException:  # foreign; what a library in Rust raises when it panics is no Exception
            traceback.print_exc()
            self._inbox.put(_Prepared(number, None, engine_failed()))
        finally:
            del self._prepared_since[number]

    def _check_preparers(self, limit_seconds: float) -> None:
        """Raise if a preparation hangs: its thread can't be ended, so the process must."""
        now = time.monotonic()
        if any(now - since > limit_seconds for since in list(self._prepared_since.values())):
            raise TimeoutError("a request's preparation did not end")

    def _turn(self, engine: Engine) -> bool:
        """Apply what came in, then do one step; False = quit."""
        outputs: list[tuple[int, Output]] = []
        is_due = False  # every cancel is acknowledged, if only by a sign of life
        for item in self._arrivals(wait=not engine.busy()):
            if isinstance(item, frames.Quit):
                return False
            is_due = is_due or isinstance(item, frames.Cancel)
            error = self._apply(engine, item)
            if error is not None:
                outputs.append(error)
        if engine.busy():
            outputs.extend(self._known(engine.step()))
        if outputs or is_due or self._should_beat():
            self._send(frames.batch_frame(outputs))
        if self._measured is not None:
            self._measure(self._measured)
        return True

    def _measure(self, engine: Measured) -> None:
        """Send the engine's own metrics if it is time and they have changed."""
        now = time.monotonic()
        if now - self._gauges_since < GAUGES_SECONDS:
            return
        self._gauges_since = now
        if (text := engine.metrics()) != self._gauges:
            self._gauges = text
            self._send(frames.frame(frames.Gauges(text)))

    def _arrivals(self, *, wait: bool) -> Iterator[_Item]:
        """What lies in the inbox; waits up to a beat for the first item if there is nothing else to do."""
        with contextlib.suppress(queue.Empty):
            if wait:
                yield self._inbox.get(timeout=BEAT_SECONDS)
            while True:
                yield self._inbox.get_nowait()

    def _apply(self, engine: Engine, item: _Item) -> tuple[int, QuintetError] | None:
        """Act on one item; returns the error that ends its request, if any."""
        match item:
            case frames.Submit(request_id=number):
                self._preparing.add(number)
            case frames.Cancel(request_id=number):
                self._preparing.discard(number)
                if number in self._running:
                    self._running.discard(number)
                    engine.cancel(number)
            case _Prepared(request_id=number, value=value, error=error):
                if number not in self._preparing:
                    return None  # cancelled meanwhile
                self._preparing.discard(number)
                if error is not None:
                    return number, error
                try:
                    engine.submit(number, value)
                except QuintetError as refusal:
                    return number, refusal
                self._running.add(number)
        return None

    def _known(self, outputs: Sequence[tuple[int, Output]]) -> Iterator[tuple[int, Output]]:
        """Outputs of requests that are still open; the last of each closes it."""
        for number, output in outputs:
            if number in self._running:
                if isinstance(output, Finished | QuintetError):
                    self._running.discard(number)
                yield number, output

    def _should_beat(self) -> bool:
        is_open = bool(self._running or self._preparing)
        return is_open and time.monotonic() - self._last_sent >= BEAT_SECONDS

    def _send(self, data: bytes) -> None:
        self._channel.sendall(data)
        self._last_sent = time.monotonic()


def resolve_factory(name: str) -> Callable[[Model], Engine]:
    """The function behind "module:function"."""
    module, _, function = name.partition(":")
    factory: Callable[[Model], Engine] = getattr(importlib.import_module(module), function)
    return factory


def _lacking(engine: str, package: str) -> LoadFailed:
    """The error for an engine whose packages aren't installed: the base of Quintet comes without them."""
    extra = EXTRAS.get(engine)
    how = f" Run: make {extra} in a checkout, or pip install 'quintet[{extra}]'." if extra else ""
    return LoadFailed(f"The engine `{engine}` needs the package {package}, which is not installed.{how}")


def engine_failed() -> EngineFailed:
    """The error for whatever an engine did not foresee."""
    return EngineFailed("The engine failed on this request; try again, and report it if it fails again.")


def die_with_parent() -> None:
    """Make the kernel kill this process when the gateway dies, keep no core dumps, leave signals to the gateway."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A service manager signals the whole group; the gateway decides when work in flight is done.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def has_hung_up(channel: socket.socket) -> bool:
    """Whether the other end is closed, whatever lies in between unread."""
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


def receive(channel: socket.socket) -> Iterator[bytes]:
    """Frame bodies from the gateway until it closes its end."""
    buffer = frames.FrameBuffer()
    while data := channel.recv(256 * 1024):
        yield from buffer.feed(data)


def main(arguments: Sequence[str]) -> int:
    """Serve the gateway at the other end of the inherited socket."""
    die_with_parent()
    sys.setswitchinterval(_SWITCH_SECONDS)
    channel = socket.socket(fileno=int(arguments[0]))
    if has_hung_up(channel):  # the gateway died before the kernel knew that we are to die with it
        return EXIT_ORPHANED
    try:
        return Worker(channel, receive(channel)).serve()
    except (StopIteration, BrokenPipeError, ConnectionResetError):
        return EXIT_ORPHANED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
