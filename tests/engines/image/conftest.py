"""One engine of each family for all tests of this room that leave nothing behind."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quintet.core.content import Image as Content
from quintet.core.events import Event, Media
from quintet.core.models import Model
from quintet.core.requests import ImageRequest

NATIVE = 64


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The libraries below warn of each other's deprecations while they draw."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))


def model_of(folder: Path, **more: Any) -> Model:
    options = {"threads": 1, "native_side": NATIVE, "denoiser": "torch", **more.pop("options", {})}
    return Model(name="tiny", task="image", engine="image", path=str(folder), options=options, **more)


@pytest.fixture(scope="session")
def engines(tiny_image: Callable[[str], Path]) -> Iterator[Callable[[str], Any]]:
    """Opened when the first test needs it."""
    from quintet.engines.image.engine import ImageEngine, open_engine

    opened: dict[str, ImageEngine] = {}

    def get(family: str) -> ImageEngine:
        if family not in opened:
            opened[family] = open_engine(model_of(tiny_image(family)))
        assert not opened[family].busy()
        return opened[family]

    yield get
    for engine in opened.values():
        assert not engine.busy()
        engine.close()


def ask(*prompts: str, **more: Any) -> ImageRequest:
    usual = {"width": NATIVE, "height": NATIVE, "steps": 2, "seed": 7}
    return ImageRequest(model="tiny", prompts=prompts or ("a red circle",), **usual | more)


def files(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, Media)]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def content(picture: Image.Image, *, is_mask: bool = False) -> Content:
    made = io.BytesIO()
    picture.save(made, "PNG")
    return Content(data=made.getvalue(), is_mask=is_mask)
