"""Which models there are: reads catalog files, one TOML table per model, and finds models by name or alias."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec

from quintet.core.errors import ModelNotFound
from quintet.core.models import Model, Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
_ENGINE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_KEYS = tuple(field.name for field in fields(Model) if field.name != "name")
ECHO_FILE = "echo.toml"


class CatalogError(Exception):
    """A catalog file is wrong; the message names file, model and key."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models by name; every alias leads to one of them."""

    by_name: Mapping[str, Model]
    aliases: Mapping[str, str]

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model once, in the order of the files."""
        return tuple(self.by_name.values())

    def find(self, name: str) -> Model:
        """The model with this name or alias; raises ModelNotFound."""
        model = self.by_name.get(self.aliases.get(name, name))
        if model is None:
            raise ModelNotFound(
                "There is no such model here; GET /v1/models lists those there are.", param="model"
            )
        return model

    def for_tasks(self, tasks: Iterable[Task]) -> tuple[Model, ...]:
        """The models made for one of these tasks."""
        wanted = set(tasks)
        return tuple(model for model in self.models if model.task in wanted)


def read_catalog(
    folders: Sequence[Path] = (),
    *,
    with_echo: bool = False,
    aliases: Mapping[str, str] | None = None,
) -> Catalog:
    """The shipped models, then those of each folder's *.toml; a later folder replaces models of the same name.

    `aliases` adds further names (alias → model). Raises CatalogError.
    """
    package = Path(str(files("quintet")))
    shipped = sorted((package / "catalog").glob("*.toml"))
    layers = [[path for path in shipped if with_echo or path.name != ECHO_FILE]]
    layers += [sorted(folder.glob("*.toml")) for folder in folders]
    models: dict[str, Model] = {}
    for number, layer in enumerate(layers):
        found: dict[str, Model] = {}
        for path in layer:
            for model in read_file(path, relative_to=path.parent if number else package):
                if model.name in found:
                    raise CatalogError(f'{path}: model "{model.name}" is defined twice in this folder')
                found[model.name] = model
        models |= found
    return make_catalog(models.values(), aliases)


def make_catalog(models: Iterable[Model], aliases: Mapping[str, str] | None = None) -> Catalog:
    """A catalog of given models; raises CatalogError if a name would be ambiguous."""
    by_name = {model.name: model for model in models}
    known: dict[str, str] = {}
    for alias, name in (
        *((alias, model.name) for model in by_name.values() for alias in model.aliases),
        *(aliases or {}).items(),
    ):
        if name not in by_name:
            raise CatalogError(f'alias "{alias}": there is no model "{name}"{_hint(name, by_name)}')
        if alias in by_name or known.get(alias, name) != name:
            raise CatalogError(f'alias "{alias}" of model "{name}" is the name of another model already')
        known[alias] = name
    return Catalog(by_name, known)


def read_file(path: Path, *, relative_to: Path) -> list[Model]:
    """The models of one file; relative weight paths start at `relative_to`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise CatalogError(f"{path}: can't be read: {error.strerror}") from error
    return [_model(path, name, table, relative_to) for name, table in tables.items()]


def _model(path: Path, name: str, table: Any, relative_to: Path) -> Model:
    where = f'{path}: model "{name}"'
    if not NAME.fullmatch(name):
        raise CatalogError(f"{where}: a name is made of letters, digits and . _ - /, at most 96 of them")
    if not isinstance(table, dict):
        raise CatalogError(f'{path}: key "{name}" stands outside of any model; models are tables: [{name}]')
    for key in table:
        if key not in _KEYS:
            raise CatalogError(f'{where}: unknown key "{key}"{_hint(key, _KEYS)}')
    for key in ("task", "engine"):
        if key not in table:
            raise CatalogError(f'{where}: key "{key}" is missing')
    if table["task"] not in get_args(Task):
        raise CatalogError(f'{where}: key "task" must be one of {", ".join(get_args(Task))}')
    try:
        model = msgspec.convert({**table, "name": name}, Model)
    except msgspec.ValidationError as error:
        raise CatalogError(f"{where}: {_without_root(str(error))}") from error
    _check_values(where, model)
    if model.path:
        model = replace(model, path=str(relative_to / Path(model.path).expanduser()))
    return model


def _check_values(where: str, model: Model) -> None:
    if not _ENGINE.fullmatch(model.engine):
        raise CatalogError(f'{where}: key "engine" must be a word of small letters, such as "text"')
    for key in ("context_length", "default_new_tokens", "max_in_flight", "max_input_tokens"):
        value = getattr(model, key)
        if value is not None and value < 1:
            raise CatalogError(f'{where}: key "{key}" must be at least 1')
    if (model.max_input_tokens or 0) >= model.context_length:
        raise CatalogError(f'{where}: key "max_input_tokens" must be smaller than context_length')
    if any(not NAME.fullmatch(alias) for alias in model.aliases):
        raise CatalogError(f'{where}: key "aliases": names are made of letters, digits and . _ - /')


def _without_root(message: str) -> str:
    """A message of msgspec with its path as a key: "… - at `$.context_length`" → 'key "context_length": …'."""
    text, found, key = message.partition(" - at `$.")
    return f'key "{key.rstrip("`")}": {text}' if found else text


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f'; did you mean "{close[0]}"?' if close else ""
