"""What all tests share: asyncio for anyio's plugin, one tiny real model, and no way out of this machine."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import quintet  # noqa: F401  # before anything imports openvino: it keeps that from phoning home

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
for _name in [name for name in os.environ if name.startswith("QUINTET_") or name.lower().endswith("_proxy")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked anyio run on asyncio."""
    return "asyncio"


@dataclass
class TinyModel:
    """The same weights as a transformers model and as an IR directory."""

    reference: Any
    directory: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny Llama with random weights, made when the first test needs it: torch takes seconds to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter's own deprecations are not ours to fail on.
        from tests.support.tiny import make_llama

        root = tmp_path_factory.mktemp("tiny")
        return TinyModel(make_llama(root), root / "ir")


@dataclass
class TinyVisionModel:
    """The same for a model that sees; its processor is in `source`."""

    reference: Any
    source: Path
    directory: Path


@pytest.fixture(scope="session")
def tiny_vision(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyVisionModel]:
    """Tiny vision-language models by the name of their family, each made when the first test needs it."""
    made: dict[str, TinyVisionModel] = {}

    def make(family: str) -> TinyVisionModel:
        if family not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The exporter's own deprecations are not ours to fail on.
                from tests.support import tiny_vision

                root = tmp_path_factory.mktemp(family)
                reference = getattr(tiny_vision, f"make_{family}")(root)
            made[family] = TinyVisionModel(reference, root / "pt", root / "ir")
        return made[family]

    return make


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny image models by the name of their family, each made when the first test needs it."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The libraries' own deprecations are not ours to fail on.
                from tests.support import tiny_image

                made[family] = tiny_image.make(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make
