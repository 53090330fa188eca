"""What somebody wants pulled, and where it is to come from: decided from a word and the catalog, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from quintet.core.errors import InvalidRequest, ModelNotFound
from quintet.core.models import Model, Source
from quintet.weights.paths import is_hub_id
from quintet.weights.refusal import printable

Precision = Literal["int8", "int4", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
_PLACE = re.compile(r"(?:https://)?(?:hf\.co|huggingface\.co)/")
_CONVERTED_ENGINES = frozenset({"text", "embed"})
"""Engines that run IR only, so safetensors are converted for them."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One model to be installed."""

    name: str
    """What it is to be called here."""
    repo: str = ""
    """Owner/name on the hub; empty if it comes from a directory."""
    directory: str = ""
    revision: str = "main"
    subfolder: str = ""
    format: str = ""
    """What the source has; empty = to be found out from its files."""
    precision: str = ""
    """What the weights are to be stored in; empty = as they come, and int8 where they are converted."""
    stored_precision: str = ""
    """What the source has, as far as the catalog knows."""
    model: Model | None = None
    """The catalog's entry, if there is one."""


def make_order(
    word: str,
    find: Callable[[str], Model | None],
    nearest: Callable[[str], Sequence[str]],
    *,
    revision: str = "",
    precision: str = "",
    source: int | None = None,
    directories: bool = True,
) -> Order:
    """What `quintet pull WORD` means; raises InvalidRequest or ModelNotFound.

    `find` looks a name or alias up in the catalog, `nearest` names models that are called nearly so.
    """
    if precision and precision not in PRECISIONS:
        raise InvalidRequest(f"precision: choose one of {', '.join(PRECISIONS)}.", param="precision")
    if word.startswith(("/", "./", "../", "~")) or word in (".", ".."):
        if not directories:
            raise InvalidRequest(
                "Directories are pulled by the command alone: quintet pull ./FOLDER", param="model"
            )
        return _from_directory(word, find, precision)
    model = find(word)
    if model is not None:
        return _from_catalog(model, revision, precision, source)
    repo = _PLACE.sub("", word, count=1).rstrip("/")
    if repo.count("/") != 1 or not is_hub_id(repo) or not _NAME.fullmatch(repo):
        near = nearest(word)
        hint = f" The nearest names: {', '.join(near)}." if near else ""
        raise ModelNotFound(
            f"There is no model {printable(word)} in the catalog.{hint} `quintet models list --all` shows all; for any "
            "other model of the hub write owner/name, for a directory ./FOLDER.",
            param="model",
        )
    return Order(name=repo, repo=repo, revision=revision or "main", precision=precision)


def _from_directory(word: str, find: Callable[[str], Model | None], precision: str) -> Order:
    path = Path(word).expanduser().absolute()
    if not path.is_dir():
        raise InvalidRequest(f"There is no directory {printable(word)}.", param="model")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).lstrip("._-")
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{printable(word)} can't become a model's name; rename it to letters, digits and . _ -",
            param="model",
        )
    model = find(name)
    if model is not None and model.is_installed:
        raise InvalidRequest(
            f"{name} is a name of {model.name}, which lies on this machine already. Rename the directory.",
            param="model",
        )
    return Order(name=name, directory=str(path), precision=precision, model=model)


def _from_catalog(model: Model, revision: str, precision: str, number: int | None) -> Order:
    if not model.sources:
        raise InvalidRequest(
            f"{model.name} has no source in the catalog"
            + (": its weights lie on this machine already." if model.path or model.engine == "echo" else "."),
            param="model",
        )
    if model.path:
        raise InvalidRequest(
            f"{model.name} has a path of its own in the catalog, so nothing is pulled for it. Remove the path first.",
            param="model",
        )
    if number is not None and not 1 <= number <= len(model.sources):
        raise InvalidRequest(
            f"{model.name} has {len(model.sources)} sources; choose --source 1 to {len(model.sources)}."
        )
    source = model.sources[number - 1] if number is not None else _choose(model, precision)
    return Order(
        name=model.name,
        repo=source.repo,
        revision=revision or source.revision,
        subfolder=source.subfolder,
        format=source.format,
        precision=precision,
        stored_precision=source.precision,
        model=model,
    )


def _choose(model: Model, precision: str) -> Source:
    """The first source that has the precision asked for or can be brought to it."""
    if not precision:
        return model.sources[0]
    for source in model.sources:
        if source.precision == precision or needs_conversion(source.format, model.engine):
            return source
    have = ", ".join(source.precision or source.format for source in model.sources)
    raise InvalidRequest(f"{model.name} can't be had in {precision}; its sources have: {have}.")


def needs_conversion(format: str, engine: str) -> bool:
    """Whether files of this format must become IR before the engine can run them."""
    return format == "safetensors" and engine in _CONVERTED_ENGINES
