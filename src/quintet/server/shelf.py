"""Keeps what a server can answer for in step with the models installed on its machine, without a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from quintet.core.models import Model
from quintet.runtime.catalog import Catalog, CatalogError, make_catalog
from quintet.runtime.service import Service
from quintet.server.metrics import Metrics
from quintet.weights.library import Library, with_installed

log = logging.getLogger(__name__)


class Shelf:
    """The models of the catalog as it was read at start, and the library, which any process may change."""

    def __init__(
        self,
        models: Iterable[Model],
        home: Path,
        make: Callable[[Iterable[Model], bool], Catalog],
        reserved: Iterable[str],
    ) -> None:
        """`models` are those of the catalog files; `make` lays the settings over them, whose aliases are `reserved`.

        Its second argument says whether an alias of the settings may lead nowhere.
        """
        self.known = make_catalog(models)
        self.library = Library(home)
        self._make = make
        self._reserved = frozenset(reserved)
        self._stamp: tuple[int, int] | None = None

    def read(self, *, lenient: bool = False) -> Catalog:
        """The catalog with what is installed now; raises CatalogError.

        A server that runs already is `lenient`: an alias of the settings leads nowhere once its model is removed.
        """
        self._stamp = self.library.stamp()
        return self._make(
            with_installed(self.known.models, self.library.installed(), self._reserved), lenient
        )

    def find_known(self, name: str) -> Model | None:
        """The catalog's own entry of a name or alias, as if nothing were installed."""
        return self.known.by_name.get(self.known.aliases.get(name, name))

    def refresh(self, service: Service, metrics: Metrics) -> None:
        """Before a request: take over what was installed or removed since the last one. One stat() if nothing was."""
        try:
            if self._stamp is not None and self.library.stamp() == self._stamp:
                return
            catalog = self.read(lenient=True)
        except (CatalogError, OSError) as error:
            log.warning("the installed models can't be taken over: %s", error)
            return
        if catalog == service.catalog:
            return
        for old in service.catalog.models:
            new = catalog.by_name.get(old.name)
            if new is None or _facts(new) != _facts(old):
                service.backend.forget(old)
        service.catalog = catalog
        metrics.know(catalog.by_name)


def _facts(model: Model) -> tuple[object, ...]:
    """What its worker was started with, as far as installing and removing models can change it."""
    return model.path, model.created, model.options
