"""What the tests of one family share; each of their modules says with `tiny` which family it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import TinyVisionModel
from tests.engines.text.conftest import Driver
from tests.engines.text.vision.seeing import load, open_driver


@pytest.fixture(scope="module")
def family(tiny: TinyVisionModel) -> Any:
    """The module's family, loaded alone."""
    return load(tiny.directory)


@pytest.fixture(scope="module")
def driver(tiny: TinyVisionModel) -> Iterator[Driver]:
    """The engine with the module's model."""
    driver = open_driver(tiny)
    yield driver
    driver.engine.close()
