"""What a catalog table says about the server behind its model, checked. It is the operator's word, never a caller's."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_args
from urllib.parse import urlsplit

from quintet.core.errors import LoadFailed
from quintet.core.models import Model
from quintet.engines.upstream.flavours import FlavourName

PORT = "{port}"
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one model, as they stand in its table."""

    url: str = ""
    """Where the API begins, such as http://127.0.0.1:8001/v1."""
    command: str = ""
    """What starts the server, split as a shell would but run without one; `{port}` becomes a free port."""
    upstream_model: str = ""
    """What the model is called there; empty = the first one that the server lists."""
    api_key_env: str = ""
    """Name of the environment variable that holds the server's key."""
    environment: str = ""
    """Names of more variables that the command may see, separated by commas."""
    health: str = ""
    """Path that answers 200 when the server can work; empty = /health of a command, the list of models of a URL."""
    metrics: str = "/metrics"
    """Path of its Prometheus metrics; empty = none."""
    server: str = ""
    """vllm, llama.cpp, tgi or openai: what it understands beside the common fields; empty = found out, but for tgi."""
    start_seconds: float = 240.0
    """How long a command may take until it is healthy."""
    health_seconds: float = 5.0
    """Time between two looks at its health, and how long one may take."""
    health_failures: int = 4
    """A command that is silent for so many looks in a row is replaced."""
    read_seconds: float = 600.0
    """Longest silence within an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where the server is and how to talk to it: `Options` with every gap filled."""

    options: Options
    url: str
    """Without a slash at the end."""
    root: str
    """Scheme, host and port of `url`."""
    command: tuple[str, ...]
    key: str
    port: int
    """The port a command was given; 0 without one."""

    @property
    def health_url(self) -> str:
        """What is asked to see whether the server can work."""
        if self.options.health:
            return self.root + self.options.health
        return f"{self.root}/health" if self.command else f"{self.url}/models"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are; empty = nowhere."""
        return self.root + self.options.metrics if self.options.metrics else ""


def read_options(model: Model, environ: Mapping[str, str] | None = None) -> Upstream:
    """The model's server; raises LoadFailed, which names the option but never its value."""
    environ = os.environ if environ is None else environ
    options = _typed(model.options)
    if not options.url and not options.command:
        raise _wrong("url", "or `command` must say where the model is")
    port = 0
    command = _split(options.command)
    url = options.url
    if PORT in options.command or PORT in url:
        port = free_port()
        command = tuple(word.replace(PORT, str(port)) for word in command)
        url = url.replace(PORT, str(port))
    if command and not url:
        if not port:
            raise _wrong("command", "must contain {port}, or `url` must say where the server listens")
        url = f"http://127.0.0.1:{port}/v1"
    url = url.rstrip("/")
    for path in ("health", "metrics"):
        if getattr(options, path) and not getattr(options, path).startswith("/"):
            raise _wrong(path, "must be a path that starts with /")
    return Upstream(
        options=options,
        url=url,
        root=_root(url),
        command=command,
        key=_key(options.api_key_env, environ),
        port=port,
    )


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _typed(given: Mapping[str, str | int | float | bool]) -> Options:
    known = {field.name: type(field.default) for field in fields(Options)}
    values: dict[str, str | int | float] = {}
    for name, value in given.items():
        kind = known.get(name)
        if kind is None:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(known)}"
            raise LoadFailed(f"This model's option `{name[:64]}` does not exist{hint}")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise _wrong(name, f"must be a {'text' if kind is str else 'number'}")
        if isinstance(value, int | float) and not 0 < value < 1e6:
            raise _wrong(name, "must be greater than 0 and less than 1,000,000")
        values[name] = value
    options = Options(**values)  # type: ignore[arg-type]
    if options.server and options.server not in get_args(FlavourName):
        raise _wrong("server", f"must be one of {', '.join(get_args(FlavourName))}")
    return options


def _split(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        raise _wrong("command", "has a quotation mark that is never closed") from None
    if command and not words:
        raise _wrong("command", "is empty")
    return words


def _root(url: str) -> str:
    parts = urlsplit("")
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise _wrong("url", "must look like http://host:port/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _wrong(
            "url", "must hold no user name, key, query or fragment; name the key's variable in `api_key_env`"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _key(name: str, environ: Mapping[str, str]) -> str:
    if not name:
        return ""
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise _wrong("api_key_env", "must be the name of an environment variable, not the key itself")
    if name.startswith("QUINTET_"):
        raise _wrong("api_key_env", "must not begin with QUINTET_, as no worker sees such variables")
    key = environ.get(name, "").strip()
    if not key:
        raise _wrong("api_key_env", "names a variable that is not set where the server was started")
    if not _HEADER_SAFE.fullmatch(key):
        raise _wrong("api_key_env", "names a variable whose value can't be sent as a key")
    return key


def _wrong(option: str, rule: str) -> LoadFailed:
    return LoadFailed(f"This model's option `{option}` {rule}. Correct its table in the catalog.")
