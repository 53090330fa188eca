"""`quintet serve`: start the server in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quintet.cli import settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: $QUINTET_HOST, then 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. Default: $QUINTET_PORT, then 8000.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="What answers where a request names no model.")] = None,
) -> None:
    """Start the server and serve until Ctrl-C; requests in flight may finish.

    On 127.0.0.1 no key is needed; any other address needs one (quintet keys create).

    \b
    Examples:
      quintet serve
      quintet serve --port 9000
      quintet serve --host 0.0.0.0 --home /srv/quintet
    """
    current = settings.read(host=host, port=port, home=home, default_model=model)
    from quintet.server.run import serve as run_server

    status = run_server(current)
    if status:
        raise typer.Exit(status)
