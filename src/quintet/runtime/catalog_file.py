"""One catalog file: TOML text → models. Every mistake is refused with file, line, model, key and the next step."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import msgspec

from quintet.core.models import Model, Source, Task
from quintet.runtime.defaults import RULES
from quintet.runtime.toml_lines import line_of, syntax_line

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
TOOL_FORMATS = ("hermes", "llama3", "mistral")
PRECISIONS = ("int4", "int8", "fp16", "bf16", "fp32")
OPTIONS: Mapping[str, Collection[str]] = {
    "text": (
        "adapters",
        "device",
        "kv_cache_mb",
        "kv_precision",
        "max_batch_tokens",
        "max_sequences",
        "picture_cache_mb",
        "precision",
        "quantization_group",
        "threads",
    ),
    "embed": ("device", "max_batch_tokens", "pooling", "precision", "threads"),
    "image": (
        "base",
        "cache",
        "denoiser",
        "denoiser_precision",
        "device",
        "enlarge",
        "enlarge_strength",
        "guidance_max",
        "guidance_rescale",
        "max_side",
        "native_side",
        "precision",
        "refine",
        "refiner",
        "refiner_strength",
        "threads",
    ),
}
"""What may stand under `options`, by engine; the others check theirs when they load."""
_KEYS = tuple(field.name for field in fields(Model) if field.name != "name")
_SOURCE_KEYS = tuple(field.name for field in fields(Source))
_ENGINE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_SUBFOLDER = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_MSGSPEC_KEY = re.compile(r"\.(\w+)|\[(\d+)\]")


class CatalogError(Exception):
    """A catalog file is wrong; the message names file, line, model and key."""


def read_file(path: Path, *, relative_to: Path) -> list[Model]:
    """The models of one file; relative weight paths start at `relative_to`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise CatalogError(f"{path}: can't be read: {error.strerror}") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path}:{syntax_line(error, text)}: not valid TOML: {error}") from error
    models = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise CatalogError(
                f'{path}:{line_of(text, [name])}: key "{name}" stands outside of any model; '
                f"models are tables: [{name}]"
            )
        model = _Table(path, text, name, table).read()
        if model.path:
            model = replace(model, path=str(relative_to / Path(model.path).expanduser()))
        if model.loras:
            files = {key: str(relative_to / Path(file).expanduser()) for key, file in model.loras.items()}
            model = replace(model, loras=files)
        models.append(model)
    return models


def hint(word: str, known: Iterable[str]) -> str:
    """What was probably meant, as the end of a message; empty if nothing is near."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f'; did you mean "{close[0]}"?' if close else ""


@dataclass(frozen=True, slots=True)
class _Table:
    """One model's table on its way to a Model."""

    path: Path
    text: str
    name: str
    table: dict[str, Any]

    def read(self) -> Model:
        """The model; raises CatalogError."""
        if not NAME.fullmatch(self.name):
            raise self._wrong("a name is made of letters, digits and . _ - /, at most 96 of them")
        self._check_keys()
        try:
            model = msgspec.convert({**self.table, "name": self.name}, Model)
        except msgspec.ValidationError as error:
            raise self._mistyped(str(error)) from error
        self._check_values(model)
        for number, source in enumerate(model.sources):
            self._check_source(number, source)
        self._check_defaults(model)
        return model

    def _wrong(self, words: str, *keys: str | int) -> CatalogError:
        return CatalogError(
            f'{self.path}:{line_of(self.text, [self.name, *keys])}: model "{self.name}": {words}'
        )

    def _mistyped(self, message: str) -> CatalogError:
        """A message of msgspec with its path as a key: "… - at `$.context_length`" → 'key "context_length": …'."""
        text, _, place = message.partition(" - at `$")
        keys = [key or int(number) for key, number in _MSGSPEC_KEY.findall(place)]
        if not keys:
            return self._wrong(text)
        return self._wrong(f'key "{place.strip(".`").replace("[...]", "")}": {text}', *keys)

    def _check_keys(self) -> None:
        """Refuse keys that don't exist, at every depth, and miss those that must."""
        table = self.table
        self._refuse_unknown(table, _KEYS)
        for number, source in enumerate(_list(table.get("sources"))):
            if isinstance(source, dict):
                self._refuse_unknown(source, _SOURCE_KEYS, "sources", number)
                for key in ("repo", "format"):
                    if key not in source:
                        raise self._wrong(f'key "{key}" is missing in sources', "sources", number)
        for key in ("task", "engine"):
            if key not in table:
                raise self._wrong(f'key "{key}" is missing')
        for key, known in (("task", get_args(Task)), ("tool_format", TOOL_FORMATS)):
            if key in table and table[key] not in known:
                raise self._wrong(f'key "{key}" must be one of {", ".join(known)}', key)
        if isinstance(table.get("defaults"), dict):
            known = tuple(RULES[table["task"]])
            if not known and table["defaults"]:
                raise self._wrong(f'key "defaults": a model for {table["task"]} has none', "defaults")
            self._refuse_unknown(table["defaults"], known, "defaults")
        known = tuple(OPTIONS.get(str(table["engine"]), ()))
        if known and isinstance(table.get("options"), dict):
            self._refuse_unknown(table["options"], known, "options")

    def _refuse_unknown(self, table: dict[str, Any], known: Iterable[str], *where: str | int) -> None:
        for key in table:
            if key not in known:
                inside = f" in {where[0]}" if where else ""
                raise self._wrong(f'unknown key "{key}"{inside}{hint(key, known)}', *where, key)

    def _check_values(self, model: Model) -> None:
        if not _ENGINE.fullmatch(model.engine):
            raise self._wrong('key "engine" must be a word of small letters, such as "text"', "engine")
        for key in (
            "context_length",
            "default_new_tokens",
            "max_image_side",
            "max_in_flight",
            "max_input_tokens",
        ):
            value = getattr(model, key)
            if value is not None and value < 1:
                raise self._wrong(f'key "{key}" must be at least 1', key)
        for key in ("disk_bytes", "memory_bytes", "created"):
            if getattr(model, key) < 0:
                raise self._wrong(f'key "{key}" must not be negative', key)
        if (model.max_input_tokens or 0) >= model.context_length:
            raise self._wrong(
                'key "max_input_tokens" must be smaller than context_length', "max_input_tokens"
            )
        if any(not NAME.fullmatch(alias) for alias in model.aliases):
            raise self._wrong('key "aliases": names are made of letters, digits and . _ - /', "aliases")

    def _check_source(self, number: int, source: Source) -> None:
        for key, pattern, rule in (
            ("repo", _REPO, "must be owner/name, as on the hub"),
            ("revision", _REVISION, "must be a branch, a tag or a commit"),
            ("subfolder", _SUBFOLDER, "must be a folder inside the repository, such as fp16 or onnx/int8"),
        ):
            value = getattr(source, key)
            if (value or key != "subfolder") and not pattern.fullmatch(value):
                raise self._wrong(f'key "{key}" in sources {rule}', "sources", number, key)
        if source.precision and source.precision not in PRECISIONS:
            words = f'key "precision" in sources must be one of {", ".join(PRECISIONS)}'
            raise self._wrong(words, "sources", number, "precision")

    def _check_defaults(self, model: Model) -> None:
        for key, value in model.defaults.items():
            broken = RULES[model.task][key].broken_by(value)
            if broken:
                raise self._wrong(f'key "{key}" in defaults {broken}', "defaults", key)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
