"""The settings of one Quintet server: defaults, `$QUINTET_HOME/quintet.toml`, then `QUINTET_*` variables.

Read by the command line, the cluster and the server alone; every other room gets plain values. A key that
does not exist is an error that names it, and no message ever shows a value.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

HOME_VARIABLE = "QUINTET_HOME"
FILE_NAME = "quintet.toml"
PREFIX = "QUINTET_"
CLIENT_VARIABLES = frozenset({"QUINTET_URL", "QUINTET_BASE_URL", "QUINTET_API_KEY"})
"""Variables that Quintet's own clients read; the server leaves them alone."""


class ConfigError(Exception):
    """The settings can't be used; the message names the key and the next step."""


class Section(BaseModel):
    """A table of settings: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Auth(Section):
    """Who may ask, and what happens to addresses that guess."""

    local: bool | None = None
    """Let requests without a key in as the principal `local`. Default: only when bound to a loopback address.

    Set it to false behind a proxy or tunnel on the same machine: its clients would count as local."""
    ban_failures: int = Field(default=5, ge=1)
    """The failed key that bans its address."""
    ban_seconds: float = Field(default=300, gt=0)
    """How long a ban lasts."""
    forget_seconds: float = Field(default=1800, gt=0)
    """Failures are forgotten so long after the last one."""
    ban_table_size: int = Field(default=100_000, ge=1)
    """Most addresses remembered at once; the least recently seen go first."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For is believed, such as "127.0.0.1" or "10.0.0.0/8"."""
    allowed_hosts: tuple[str, ...] = ()
    """More names accepted in the Host header. A loopback bind accepts only its own names and these."""

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ValueError("each entry must be an IP address or network, such as 10.0.0.0/8") from None
        return value


class Deadlines(Section):
    """How long things may take, in seconds."""

    header_seconds: float = Field(default=10, gt=0)
    """From the first byte of a request to the end of its headers."""
    body_seconds: float = Field(default=60, gt=0)
    """For the whole body of a request."""
    body_bytes_per_second: int = Field(default=1024, ge=0)
    """Slowest body accepted, once `body_grace_seconds` have passed."""
    body_grace_seconds: float = Field(default=5, gt=0)
    """How long a body may be slower than that."""
    keep_alive_seconds: float = Field(default=15, gt=0)
    """How long an idle connection stays open."""
    first_byte_seconds: float = Field(default=30, gt=0)
    """From admission to the first event of an answer."""
    idle_seconds: float = Field(default=30, gt=0)
    """Between two events of an answer."""
    total_seconds: float = Field(default=600, gt=0)
    """For a whole answer."""
    commit_seconds: float = Field(default=10, gt=0)
    """How long a stream waits for its first event before it answers 200 and sends keep-alive comments."""
    ping_seconds: float = Field(default=15, gt=0)
    """Between two keep-alive comments of a waiting stream."""
    write_seconds: float = Field(default=60, gt=0)
    """How long a client may leave its answer unread before the connection is dropped."""


class Limits(Section):
    """How much at once."""

    max_in_flight: int | None = Field(default=None, ge=1)
    """Requests in flight per model; one more is answered 429 at once. Default: what the catalog says, mostly 100."""
    body_bytes_in_memory: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of request bodies held at once while they are received and parsed; more are answered 429."""
    pixel_steps: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Most that one request for pictures may take, by tier: tier = width × height × steps × pictures (or frames). A
    tier that is not named may ask for anything."""
    sockets_per_address: int = Field(default=1100, ge=1)
    """Open connections per client address on a loopback bind."""
    sockets_per_remote_address: int = Field(default=50, ge=1)
    """Open connections per client address that is neither loopback nor a trusted proxy."""


class Fetch(Section):
    """Links to pictures that callers send. Whatever these say, a link never leads to an inside address."""

    enabled: bool = True
    """Fetch them at all; if not, callers send pictures as data URLs."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (80, 443)
    """Ports that a link may name."""
    hosts: tuple[str, ...] = ()
    """If not empty: the only hosts that links may lead to, by their exact names."""
    own_origins: tuple[str, ...] = ()
    """The server's own public names as host:port, so that no link leads back to it."""
    permitted_addresses: tuple[str, ...] = ()
    """Exact ip:port pairs that links may lead to although they are inside, such as your own picture server."""
    refused_networks: tuple[str, ...] = ()
    """More networks that links never lead to, such as public addresses used inside."""


class Images(Section):
    """Pictures and animations that models draw."""

    metadata: bool = True
    """Write prompt, seed, sampler, steps and model into the file. A caller who doesn't want that sends the header
    `X-Quintet-Metadata: off`."""


class Files(Section):
    """Finished pictures and animations behind links that nobody can guess, for callers who ask for a link."""

    keep_seconds: float = Field(default=3600, gt=0)
    """How long a link works."""
    max_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024 * 1024)
    """Size of all files together; beyond it the oldest go first."""
    base_url: str = ""
    """What links begin with, such as "https://pictures.example.org". Default: the scheme and host that the caller used,
    or that a trusted proxy names in X-Forwarded-Proto and X-Forwarded-Host."""

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/?#]+(?:/[^\s?#]*)?", value):
            raise ValueError(
                "it must be an http(s) URL without ? and #, such as https://pictures.example.org"
            )
        return value


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines shown; request lines are `info`."""
    format: Literal["json", "text"] = "json"
    """One JSON object per line, or something for human eyes."""


class Echo(Section):
    """The built-in echo models, which need no weights; for tests and load measurements."""

    enabled: bool = False
    """Serve the models `echo`, `echo-vision` and the like."""
    faults: bool = False
    """Let requests order faults (crash, hang, …). Never in production."""


class Settings(Section):
    """All settings of a server."""

    home: Path
    """Where the database, the pepper and the settings file live ($QUINTET_HOME, default ~/.quintet)."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback needs keys."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    default_model: str = "starter-chat"
    """What answers where the wire names no model, as on POST /generate."""
    default_vision_model: str = "starter-vision"
    """What answers where the wire names no model and the prompt holds pictures."""
    default_image_model: str = "starter-image"
    """What draws where the wire names no model, as on POST /imagine/generate."""
    default_animation_model: str = "starter-motion"
    """What draws moving pictures where the wire names no model, as on POST /text2gif."""
    default_upscaler: str = "lanczos"
    """What enlarges pictures where the wire names no model."""
    aliases: dict[str, str] = Field(default_factory=dict)
    """More names for models: alias = "model". They are added to the built-in ones."""
    preload: tuple[str, ...] | None = None
    """Models loaded at start. Default: the default model."""
    drain_seconds: float = Field(default=30, ge=0)
    """How long requests in flight may finish after SIGTERM."""
    auth: Auth = Field(default_factory=Auth)
    deadlines: Deadlines = Field(default_factory=Deadlines)
    limits: Limits = Field(default_factory=Limits)
    fetch: Fetch = Field(default_factory=Fetch)
    images: Images = Field(default_factory=Images)
    files: Files = Field(default_factory=Files)
    log: Log = Field(default_factory=Log)
    echo: Echo = Field(default_factory=Echo)

    @property
    def database_path(self) -> Path:
        """The SQLite file that keys and everything else that must last are kept in."""
        return self.home / "quintet.db"

    @property
    def pepper_path(self) -> Path:
        """The secret that key hashes are made with; never in the database."""
        return self.home / "pepper"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def local_allowed(self) -> bool:
        """Whether a request without a key is the principal `local`."""
        return self.is_loopback if self.auth.local is None else self.auth.local

    @property
    def preloaded(self) -> tuple[str, ...]:
        """The models to load at start."""
        return (self.default_model,) if self.preload is None else self.preload

    @property
    def all_aliases(self) -> dict[str, str]:
        """The built-in aliases, changed and completed by the configured ones.

        `phi3`, `llava` and `imagine` are the names in the paths of seed clients; `tgi` and `dummy` are what Hugging
        Face clients send when the user names no model.
        """
        built_in = dict.fromkeys(("phi3", "tgi", "dummy"), self.default_model)
        built_in["llava"] = self.default_vision_model
        built_in["imagine"] = self.default_image_model
        return built_in | self.aliases


def is_loopback(host: str) -> bool:
    """Whether a listening address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this machine; raises ConfigError."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get(HOME_VARIABLE) or "~/.quintet").expanduser().absolute()
    merged = _read_file(home / FILE_NAME)
    _merge(merged, _read_environ(environ))
    merged["home"] = home
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    if settings.auth.local and not settings.is_loopback:
        raise ConfigError(
            "auth.local = true lets everybody in without a key, which is only allowed on a loopback host. "
            'Set host = "127.0.0.1", or remove auth.local and create a key: quintet keys create --owner NAME'
        )
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{FILE_NAME} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{FILE_NAME} can't be read: {error.strerror}") from None
    if "home" in table:
        raise ConfigError(
            f"{FILE_NAME}: home can't be set in the file that lies in it; set {HOME_VARIABLE} instead"
        )
    return table


def _read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """QUINTET_AUTH__BAN_SECONDS=60 becomes {"auth": {"ban_seconds": "60"}}."""
    table: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name == HOME_VARIABLE or name in CLIENT_VARIABLES:
            continue
        keys = name.removeprefix(PREFIX).lower().split("__")
        nested: Any = _parse_value(text)
        for key in reversed(keys):
            nested = {key: nested}
        _merge(table, nested)
    return table


def _parse_value(text: str) -> Any:
    """Lists and tables are written as JSON; everything else is left to the type of the setting."""
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _merge(base: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        below = base.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            _merge(below, value)
        else:
            base[key] = value


def _explain(error: ValidationError) -> str:
    """All mistakes in one line each, by key, without values."""
    lines = []
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(str(part) for part in mistake["loc"])
        variable = PREFIX + key.upper().replace(".", "__")
        if mistake["type"] == "extra_forbidden":
            lines.append(f"{key}: there is no such setting (in {FILE_NAME}, or as {variable})")
        else:
            lines.append(f"{key}: {mistake['msg']} (in {FILE_NAME}, or as {variable})")
    return "Settings: " + "; ".join(lines)
