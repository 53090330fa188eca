"""Three tiny encoders for all tests of the embedding engine."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet.core.events import Embedding
from quintet.core.models import Model
from quintet.core.requests import EmbeddingRequest
from quintet.engines.embed.engine import EmbeddingEngine, open_engine
from tests.engines import contract

KINDS = ("bert", "roberta", "qwen")
Encoders = dict[str, Any]


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    """Every kind, made when the first test needs it: torch takes seconds to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter's own deprecations are not ours to fail on.
        from tests.support import tiny_encoder

        root = tmp_path_factory.mktemp("encoders")
        return {kind: getattr(tiny_encoder, f"make_{kind}")(root / kind) for kind in KINDS}


def model_of(encoder: Any, **more: Any) -> Model:
    options = {"precision": "f32", **more.pop("options", {})}
    directory = more.pop("path", encoder.directory)
    return Model(
        name="tiny",
        task="embedding",
        engine="embed",
        path=str(directory),
        options=options,
        **{"context_length": 512, **more},
    )


@pytest.fixture(scope="module")
def engines(encoders: Encoders) -> Iterator[dict[str, EmbeddingEngine]]:
    """One engine of each kind for all tests of a file that leave nothing behind."""
    opened = {kind: open_engine(model_of(encoder)) for kind, encoder in encoders.items()}
    yield opened
    for engine in opened.values():
        assert not engine.busy()
        assert not engine._jobs
        engine.close()


@pytest.fixture
def copy(encoders: Encoders, tmp_path: Path) -> Path:
    """A model directory to spoil."""
    return Path(shutil.copytree(encoders["bert"].directory, tmp_path / "copy"))


def ask(*texts: str, **more: Any) -> EmbeddingRequest:
    return EmbeddingRequest(model="tiny", texts=texts, **more)


def vector_of(event: Embedding) -> np.ndarray:
    return np.frombuffer(event.vector, "<f4")


def vectors(engine: EmbeddingEngine, *requests: EmbeddingRequest) -> list[list[np.ndarray]]:
    """Ask together; the vectors of every request, in the order of its inputs."""
    found = []
    for events in contract.drive(engine, requests):
        embeddings = sorted((one for one in events if isinstance(one, Embedding)), key=lambda one: one.index)
        assert [one.index for one in embeddings] == list(range(len(embeddings)))
        found.append([vector_of(one) for one in embeddings])
    return found
