"""`quintet pull`: install a model from the hub or from a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintet.cli import settings
from quintet.cli.failure import Failure
from quintet.cli.progress import Bar
from quintet.weights.sizes import show_bytes

if TYPE_CHECKING:
    from quintet.config import Settings
    from quintet.weights.order import Order


def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name of the catalog, owner/name of the hub, or a directory as ./FOLDER."
        ),
    ],
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit. It is pinned to the commit. Default: main.")
    ] = "",
    precision: Annotated[
        str, typer.Option(help="int8, int4 or fp16: what safetensors are converted to. Default: int8.")
    ] = "",
    source: Annotated[
        int | None,
        typer.Option(min=1, help="Which of the catalog's sources. Default: the best for this server."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")
    ] = None,
) -> None:
    """Install a model: download, check, convert if need be. A running server can answer with it at once.

    A stopped pull goes on where it was when the same is pulled again. Gated models need a token in HF_TOKEN.

    \b
    Examples:
      quintet pull qwen3-0.6b
      quintet pull HuggingFaceTB/SmolLM2-135M-Instruct --precision int4
      quintet pull ./my-finetune
    """
    current = settings.read(home=home)
    order = _order(current, model, revision, precision, source)

    from quintet.weights.library import Library
    from quintet.weights.pull import Pull

    try:
        with Bar(order.name) as bar:
            outcome = Pull(Library(current.home), order, bar.report).run()
    except KeyboardInterrupt:
        raise Failure(
            f"stopped; what is here of {order.name} is kept, and the same pull goes on from there.", 130
        ) from None
    manifest = outcome.installed.manifest
    at = f" at revision {manifest.revision[:12]}" if manifest.revision else ""
    if outcome.already:
        print(f"{manifest.name} is installed already{at}.")
    else:
        print(f"{manifest.name} is installed{at}, {show_bytes(manifest.size_bytes)}.")
    if manifest.task in ("text", "vision"):
        print(f"Talk to it: quintet chat --model {manifest.name}")


def _order(current: Settings, word: str, revision: str, precision: str, source: int | None) -> Order:
    from quintet.runtime.catalog import CatalogError
    from quintet.server.app import make_shelf
    from quintet.weights.order import make_order

    try:
        shelf = make_shelf(current)
    except CatalogError as error:
        raise Failure(str(error)) from None
    return make_order(
        word,
        shelf.find_known,
        shelf.known.nearest,
        revision=revision,
        precision=precision,
        source=source,
    )
