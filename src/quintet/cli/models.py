"""`quintet models`: which models there are, and what is installed of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintet.cli import catalog, settings
from quintet.cli.failure import Failure
from quintet.cli.progress import Bar
from quintet.weights.sizes import show_bytes

if TYPE_CHECKING:
    from quintet.config import Settings
    from quintet.core.models import Model
    from quintet.weights.library import Installed, Library

app = typer.Typer(
    help="See which models there are, look at installed ones, check and remove them.\n\n"
    "`quintet pull NAME` installs one. A model whose files lie elsewhere on this machine gets "
    "a table in a .toml file in the folder `models` of the data directory; start the server again then:\n\n"
    "\b\n"
    "  [my-model]\n"
    '  task = "text"\n'
    '  engine = "text"\n'
    '  path = "/models/my-model"\n'
    "  context_length = 8192\n\n"
    "\b\nExamples:\n"
    "  quintet models list\n"
    "  quintet models list --all\n"
    "  quintet models show qwen3-0.6b\n"
    "  quintet models remove qwen3-0.6b\n",
    no_args_is_help=True,
    rich_markup_mode=None,
)


Home = Annotated[Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")]
Name = Annotated[str, typer.Argument(help="The model's name.")]


@app.command("list")
def list_models(
    url: Annotated[
        str | None, typer.Option(envvar="QUINTET_URL", help="The server to ask. Default: this machine's.")
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="QUINTET_API_KEY", help="API key, if the server wants one.")
    ] = "",
    known: Annotated[
        bool, typer.Option("--all", help="Show this machine's whole catalog, with what could be pulled.")
    ] = False,
    home: Home = None,
) -> None:
    """List the models of the running server; without one, those this machine could serve.

    \b
    Examples:
      quintet models list
      quintet models list --all
      quintet models list --url http://gpu-box:8000 --key "$QUINTET_API_KEY"
    """
    from quintet.cli.remote import Remote, Unreachable

    current = settings.read(home=home)
    if known:
        for model in catalog.read(current).models:
            print(_line(model))
        return
    remote = Remote(url or settings.server_url(current), key)
    try:
        names = [str(model["id"]) for model in remote.models()]
    except Unreachable:
        if url is not None:
            raise
        names = [model.name for model in catalog.read(current).models if model.is_installed]
        print(f"No server answers at {remote.url}; this machine could serve:", file=sys.stderr)
    finally:
        remote.close()
    for name in names:
        print(name)


@app.command()
def show(name: Name, home: Home = None) -> None:
    """Show what is known of a model, and what is installed of it.

    \b
    Examples:
      quintet models show qwen3-0.6b
    """
    from quintet.core.errors import ModelNotFound

    current = settings.read(home=home)
    model = catalog.find(catalog.read(current), name)
    for label, value in _facts(model):
        if value:
            print(f"{label + ':':<12} {value}")
    try:
        installed = _library(current).find(model.name)
    except ModelNotFound:
        if not model.is_installed:
            print(f"{'installed:':<12} no; {_way_to_get(model)}")
        return
    manifest = installed.manifest
    origin = f"{manifest.repo} at {manifest.revision}" if manifest.repo else "a directory"
    converted = f", converted from {manifest.converted_from}" if manifest.converted_from else ""
    print(f"{'installed:':<12} from {origin}{converted}")
    print(f"{'precision:':<12} {manifest.precision or 'as it came'}")
    print(f"{'folder:':<12} {installed.folder}")
    for file in manifest.files:
        print(f"  {file.sha256[:12]}  {file.size:>14,}  {file.name}")


@app.command()
def remove(name: Name, home: Home = None) -> None:
    """Remove an installed model, or what an unfinished pull left of it.

    A running server knows at once: it finishes what it is answering with the model, then unloads it.

    \b
    Examples:
      quintet models remove qwen3-0.6b
    """
    current = settings.read(home=home)
    name = _plain_name(current, name)
    freed = _library(current).remove(name)
    print(f"{name} is removed; {show_bytes(freed)} are free again.")


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The model's name. Default: all installed ones.")] = None,
    home: Home = None,
) -> None:
    """Read every file of an installed model again and compare its SHA-256 with what was installed.

    \b
    Examples:
      quintet models verify
      quintet models verify qwen3-0.6b
    """
    current = settings.read(home=home)
    library = _library(current)
    chosen = library.installed() if name is None else [library.find(_plain_name(current, name))]
    broken = library.broken() if name is None else []
    if not chosen and not broken:
        print("No model was pulled yet.", file=sys.stderr)
    for each in broken:
        print(f"{each}: quintet.json is missing or can't be read")
    damaged = [one.manifest.name for one in chosen if not _is_whole(one)] + broken
    if damaged:
        again = "; ".join(f"quintet models remove {each} && quintet pull {each}" for each in damaged)
        raise Failure(f"damaged: {', '.join(damaged)}. Install them again: {again}")


def _is_whole(one: Installed) -> bool:
    """Verify one model, and print what is wrong with it."""
    from quintet.weights import library
    from quintet.weights.progress import Counter

    manifest = one.manifest
    with Bar(manifest.name, quiet=True) as bar:
        wrong = library.verify(one, Counter(bar.report, "verify", manifest.size_bytes).advance)
    for line in wrong:
        print(f"{manifest.name}: {line}")
    if not wrong:
        print(
            f"{manifest.name}: {len(manifest.files)} files, {show_bytes(manifest.size_bytes)}, all as installed"
        )
    return not wrong


def _library(current: Settings) -> Library:
    from quintet.weights.library import Library

    return Library(current.home)


def _plain_name(current: Settings, name: str) -> str:
    """The name behind an alias."""
    return catalog.read(current).aliases.get(name, name)


def _line(model: Model) -> str:
    size = show_bytes(model.disk_bytes) if model.disk_bytes else ""
    return (
        f"{model.name:<28} {model.task:<10} {size:>9}  {'installed' if model.is_installed else ''}".rstrip()
    )


def _way_to_get(model: Model) -> str:
    from quintet.weights.preflight import can_run

    return f"quintet pull {model.name}" if can_run(model) else "this version of Quintet can't run it"


def _facts(model: Model) -> list[tuple[str, str]]:
    return [
        ("model", model.name),
        ("about", model.description),
        ("aliases", ", ".join(model.aliases)),
        ("task", model.task),
        ("engine", model.engine),
        (
            "context",
            f"{model.context_length:,} tokens" if model.task in ("text", "vision", "embedding") else "",
        ),
        ("pictures", f"up to {model.max_image_side:,} pixels a side" if model.can_see else ""),
        ("licence", model.licence),
        ("download", show_bytes(model.disk_bytes) if model.disk_bytes else ""),
        ("memory", show_bytes(model.memory_bytes) if model.memory_bytes else ""),
        *(
            (f"source {number}", f"{source.repo} ({source.precision or source.format})")
            for number, source in enumerate(model.sources, 1)
        ),
    ]
