"""Reading the settings for a command: its options over the environment, and mistakes as one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quintet.cli.failure import Failure

if TYPE_CHECKING:
    from quintet.config import Settings


def read(**options: object) -> Settings:
    """The settings of this machine with the given options laid over them; None means not given."""
    from quintet.config import ConfigError, read_settings

    environ = dict(os.environ)
    environ.update(
        {f"QUINTET_{name.upper()}": str(value) for name, value in options.items() if value is not None}
    )
    try:
        return read_settings(environ)
    except ConfigError as error:
        raise Failure(str(error)) from None


def server_url(settings: Settings) -> str:
    """Where a client on this machine reaches the server of these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
