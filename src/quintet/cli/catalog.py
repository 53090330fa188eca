"""The catalog of this machine, read as the server reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quintet.cli.failure import Failure

if TYPE_CHECKING:
    from quintet.config import Settings
    from quintet.core.models import Model
    from quintet.runtime.catalog import Catalog


def read(settings: Settings) -> Catalog:
    """All models this machine knows; a mistake in a catalog file or an alias is a Failure."""
    from quintet.config import ConfigError
    from quintet.runtime.catalog import CatalogError
    from quintet.server.app import read_models

    try:
        return read_models(settings)
    except (CatalogError, ConfigError) as error:
        raise Failure(str(error)) from None


def find(catalog: Catalog, name: str) -> Model:
    """The model with this name or alias; for any other name, a Failure that says which names are near."""
    from quintet.core.errors import ModelNotFound

    try:
        return catalog.find(name)
    except ModelNotFound:
        near = catalog.hint(name) or "See which there are: quintet models list"
        raise Failure(f"there is no model `{name}` in the catalog. {near.removesuffix('.')}") from None
