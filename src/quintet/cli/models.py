"""`quintet models`: which models there are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from quintet.cli import catalog, settings

app = typer.Typer(
    help="See which models there are.\n\n"
    "A bigger model is any text model exported to OpenVINO IR with past (`optimum-cli export openvino`, "
    "which comes with the package optimum-intel). To add one, "
    "write a table into a .toml file in the folder `models` of the data directory and start the server again:\n\n"
    "\b\n"
    "  [my-model]\n"
    '  task = "text"\n'
    '  engine = "text"\n'
    '  path = "/models/my-model"\n'
    "  context_length = 8192\n\n"
    "\b\nExamples:\n  quintet models list\n",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps `list` a word of its own while it is the only command here."""


@app.command("list")
def list_models(
    url: Annotated[
        str | None, typer.Option(envvar="QUINTET_URL", help="The server to ask. Default: this machine's.")
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="QUINTET_API_KEY", help="API key, if the server wants one.")
    ] = "",
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")
    ] = None,
) -> None:
    """List the models of the running server; without one, those this machine could serve.

    \b
    Examples:
      quintet models list
      quintet models list --url http://gpu-box:8000 --key "$QUINTET_API_KEY"
    """
    from quintet.cli.remote import Remote, Unreachable

    current = settings.read(home=home)
    remote = Remote(url or settings.server_url(current), key)
    try:
        names = [str(model["id"]) for model in remote.models()]
    except Unreachable:
        if url is not None:
            raise
        names = [model.name for model in catalog.read(current).models]
        print(f"No server answers at {remote.url}; this machine could serve:", file=sys.stderr)
    finally:
        remote.close()
    for name in names:
        print(name)
