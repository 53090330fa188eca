"""A real server in a process of its own, on an ephemeral port, with a home of its own."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MODELS = """
[paced]
task = "text"
engine = "echo"
context_length = 8192
options = { tokens_per_second = 50, cycle = true }

[late]
task = "text"
engine = "echo"
context_length = 8192
options = { first_token_seconds = 600 }

[small]
task = "text"
engine = "echo"
context_length = 8192
max_in_flight = 2
options = { tokens_per_second = 50, cycle = true }

[flood]
task = "text"
engine = "echo"
context_length = 1000000
options = { cycle = true }

[broken]
task = "text"
engine = "echo"
options = { load_fault = "error" }
"""
"""More echo models: one that speaks slowly, one that begins late, one that is soon full, one that never ends."""
READY = "Quintet is ready at "
PATIENCE_SECONDS = 30.0


@dataclass
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningServer:
    """Start it with `start`; use it as a context manager."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] = field(init=False)
    port: int = field(init=False, default=0)
    lines: list[str] = field(default_factory=list)
    """What it printed on standard output."""
    log: list[str] = field(default_factory=list)
    """What it wrote to standard error."""
    _changes: queue.Queue[None] = field(default_factory=queue.Queue)
    _unread: list[IO[str]] = field(default_factory=list)

    @classmethod
    def start(
        cls, home: Path, *, wait: bool = True, read_log: bool = True, **settings: object
    ) -> RunningServer:
        """A server with the echo models; settings are written as in QUINTET_AUTH__LOCAL, in small letters.

        `read_log=False` leaves its standard error unread, in a pipe that is full after some lines.
        """
        known = {"echo__enabled": "true", "echo__faults": "true", "default_model": "echo", "port": "0"}
        environ = {f"QUINTET_{name.upper()}": str(value) for name, value in (known | settings).items()}
        (home / "models").mkdir(parents=True, exist_ok=True)
        (home / "models" / "test.toml").write_text(MODELS)
        server = cls(home, environ | {"QUINTET_HOME": str(home)})
        server._spawn(read_log)
        if wait:
            server.wait_ready()
        return server

    def _spawn(self, read_log: bool) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("QUINTET_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quintet.cli.main", "serve"],
            env=inherited | self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        read = [(self.process.stdout, self.lines), (self.process.stderr, self.log)]
        if not read_log:
            unread = read.pop()[0]
            assert unread is not None
            fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
            self._unread.append(unread)
        for stream, lines in read:
            threading.Thread(target=self._collect, args=(stream, lines), daemon=True).start()

    def _collect(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            self._changes.put(None)
        stream.close()

    def wait_ready(self) -> None:
        """Wait for the line that says so, and learn the port from it."""
        line = self.wait_for(lambda: next((line for line in self.lines if line.startswith(READY)), None))
        self.port = int(line.rpartition(":")[2])

    def wait_for(self, look: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """What `look` returns as soon as that is true; looks again whenever the server wrote something."""
        end = time.monotonic() + seconds
        while not (found := look()):
            left = end - time.monotonic()
            if left <= 0 or (self.process.poll() is not None and self._changes.empty()):
                raise AssertionError(f"it did not come; printed {self.lines}, logged {self.log[-20:]}")
            try:
                self._changes.get(timeout=min(left, 0.05))
            except queue.Empty:
                continue
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        """The process ids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def resident_bytes(self) -> int:
        """Memory of the gateway process itself."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> Answer:
        """One request on a connection of its own. A body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def chat(self, text: str = "hello there", key: str = "", **more: Any) -> Answer:
        """One chat completion of the echo model."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/chat/completions", body, headers)

    @contextmanager
    def connect(self, timeout: float = 20) -> Iterator[socket.socket]:
        """A raw connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            yield connection

    def raw(self, data: bytes, timeout: float = 20) -> bytes:
        """Send bytes and read until the server closes the connection."""
        with self.connect(timeout) as connection:
            connection.sendall(data)
            return read_all(connection)

    def records(self) -> list[dict[str, Any]]:
        """The log lines of all requests so far."""
        parsed = [json.loads(line) for line in list(self.log) if line.startswith("{")]
        return [line for line in parsed if line.get("event") == "request"]

    def wait_record(self, request_id: str) -> dict[str, Any]:
        """The log line of one request."""
        return self.wait_for(lambda: next((r for r in self.records() if r["request_id"] == request_id), None))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait_exit(self, seconds: float = PATIENCE_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, twice if need be; returns the exit status."""
        try:
            return self._stop()
        finally:
            for unread in self._unread:
                unread.close()

    def _stop(self) -> int:
        if self.process.poll() is None:
            self.signal()
            try:
                return self.wait_exit(10)
            except subprocess.TimeoutExpired:
                self.signal()
        try:
            return self.wait_exit(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes; a reset counts as a close."""
    received = bytearray()
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


def read_until(connection: socket.socket, mark: bytes, received: bytes = b"") -> bytes:
    """Everything up to and including the first piece that completes `mark`."""
    while mark not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise AssertionError(f"closed before {mark!r}: {received!r}")
        received += chunk
    return received


def http_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of one well-formed request; header names are written with underscores."""
    lines = [f"{method} {path} HTTP/1.1"]
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("host", "127.0.0.1")
    if body:
        given.setdefault("content-type", "application/json")
        given.setdefault("content-length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chat_bytes(text: str, *, stream: bool = False, **more: Any) -> bytes:
    """A chat request of the echo model, as bytes."""
    body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": text}], **more}
    return http_request("POST", "/v1/chat/completions", json.dumps(body).encode())


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `look` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"it did not come true within {seconds} s")
        time.sleep(0.01)
    return found
