"""Which models there are: reads catalog files, one TOML table per model, and finds models by name or alias.

Known models far outnumber those on this machine, so those that are still to be pulled give way: an installed
model's names, and the names that the settings add, come before theirs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from quintet.core.errors import ModelNotFound
from quintet.core.models import Model, Task
from quintet.runtime.catalog_file import NAME as NAME
from quintet.runtime.catalog_file import CatalogError as CatalogError
from quintet.runtime.catalog_file import hint, read_file

ECHO_FILE = "echo.toml"
LONGEST_NAME = 96
OTHER_MODELS: Mapping[str, tuple[str, ...]] = {"image": ("base", "refiner")}
"""Options that may name another model, by engine; the engine is told the folder of its weights instead."""
_NEAR = 0.6
"""How alike a name must be to be offered instead of a wrong one; 1 = the same."""
_COMPANY = 0.45
"""How alike the next best ones must be."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models by name; every alias leads to one of them."""

    by_name: Mapping[str, Model]
    aliases: Mapping[str, str]

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model once, in the order of the files."""
        return tuple(self.by_name.values())

    def __contains__(self, name: str) -> bool:
        """Whether there is a model with this name or alias."""
        return name in self.aliases or name in self.by_name

    @property
    def taken(self) -> frozenset[str]:
        """The names and aliases of installed models."""
        names = {model.name for model in self.models if model.is_installed}
        return frozenset(names | {alias for alias, name in self.aliases.items() if name in names})

    def find(self, name: str) -> Model:
        """The model with this name or alias; raises ModelNotFound."""
        model = self.by_name.get(self.aliases.get(name, name))
        if model is None:
            near = self.hint(name)
            advice = f". {near}" if near else "; GET /v1/models lists those there are."
            raise ModelNotFound(f"There is no such model here{advice}", param="model")
        return model

    def hint(self, name: str) -> str:
        """A sentence with the nearest names; empty if nothing is near."""
        near = [f'"{word}"' for word in self.nearest(name)]
        if len(near) < 2:
            return f"The nearest name is {near[0]}." if near else ""
        return f"The nearest names are {', '.join(near[:-1])} and {near[-1]}."

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """Names or aliases that look like this one, the nearest first, one per model."""
        asked = name[:LONGEST_NAME].casefold()
        matcher = difflib.SequenceMatcher(autojunk=False)
        matcher.set_seq2(asked)
        best: dict[str, tuple[float, str]] = {}
        for word, owner in self._words():
            score = _likeness(matcher, word.casefold(), asked)
            if score > best.get(owner, (_COMPANY, ""))[0]:
                best[owner] = (score, word)
        ranked = sorted(best.values(), key=lambda found: (-found[0], found[1]))
        return [word for _, word in ranked[:most]] if ranked and ranked[0][0] >= _NEAR else []

    def for_tasks(self, tasks: Iterable[Task]) -> tuple[Model, ...]:
        """The models made for one of these tasks, installed ones first, and real ones before echoes."""
        wanted = set(tasks)
        able = [model for model in self.models if model.task in wanted]
        return tuple(sorted(able, key=lambda model: (not model.is_installed, model.engine == "echo")))

    def _words(self) -> Iterator[tuple[str, str]]:
        """Every name and alias, with the name of its model."""
        for name in self.by_name:
            yield name, name
        yield from self.aliases.items()


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
        _refuse_ambiguous(found)
        for name in found:
            models.pop(name, None)  # the later table is the later one in order, too
        models |= found
    return make_catalog(models.values(), aliases)


def make_catalog(models: Iterable[Model], aliases: Mapping[str, str] | None = None) -> Catalog:
    """A catalog of given models; raises CatalogError if a name would be ambiguous.

    Of models that aren't installed, the later one gets an alias that several claim.
    """
    by_name = {model.name: model for model in models}
    installed = {name: model for name, model in by_name.items() if model.is_installed}
    known: dict[str, str] = {}
    for alias, name in (
        *((alias, model.name) for model in installed.values() for alias in model.aliases),
        *(aliases or {}).items(),
    ):
        if name not in by_name:
            raise CatalogError(f'alias "{alias}": there is no model "{name}"{hint(name, by_name)}')
        if alias in installed or known.get(alias, name) != name:
            raise CatalogError(f'alias "{alias}" of model "{name}" is the name of another model already')
        known[alias] = name
    others = {
        alias: model.name
        for model in by_name.values()
        if not model.is_installed
        for alias in model.aliases
        if alias not in by_name
    }
    catalog = Catalog(by_name, others | known)
    return replace(catalog, by_name={model.name: _with_folders(catalog, model) for model in catalog.models})


def _with_folders(catalog: Catalog, model: Model) -> Model:
    """The model with folders in the place of installed models' names in its options."""
    folders = {}
    for option in OTHER_MODELS.get(model.engine, ()):
        name = str(model.options.get(option, ""))
        other = catalog.by_name.get(catalog.aliases.get(name, name))
        if other is not None and other.path:
            folders[option] = other.path
    return replace(model, options={**model.options, **folders}) if folders else model


def _refuse_ambiguous(found: Mapping[str, Model]) -> None:
    """Whoever writes the tables of one folder means one model by one name."""
    owners: dict[str, str] = {}
    for model in found.values():
        for alias in model.aliases:
            if alias in found or owners.setdefault(alias, model.name) != model.name:
                raise CatalogError(
                    f'alias "{alias}" of model "{model.name}" is the name of another model already'
                )


def _likeness(matcher: difflib.SequenceMatcher[str], word: str, asked: str) -> float:
    """How alike two names are, 0–1; a part of a name is near the whole, and the nearer the more of it there is."""
    if len(asked) > 2 and asked in word:
        return _NEAR + (1 - _NEAR) * len(asked) / len(word)
    matcher.set_seq1(word)
    if matcher.real_quick_ratio() < _COMPANY or matcher.quick_ratio() < _COMPANY:
        return 0.0
    return matcher.ratio()
