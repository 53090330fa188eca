"""The engine says what transformers says on the same float32 weights, however the work is cut up."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from quintet.core.requests import EmbeddingRequest
from quintet.engines.embed.engine import EmbeddingEngine, open_engine
from tests.engines.embed.conftest import KINDS, Encoders, ask, model_of, vectors
from tests.support.tiny_encoder import WORDS, TinyEncoder

TEXTS = (
    "hello",
    "Hello WORLD, what is the red circle",
    "x",
    "one two three " * 12,
    "zebra of the blue and",
    " ".join(WORDS),
)


def near(found: Any, expected: Any) -> Any:
    return np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def ragged(count: int, longest: int = 40) -> list[tuple[int, ...]]:
    source = random.Random(6)
    return [tuple(source.randrange(4, 60) for _ in range(source.randint(1, longest))) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_alone(encoders: Encoders, engines: dict[str, EmbeddingEngine], kind: str) -> None:
    tiny: TinyEncoder = encoders[kind]
    for text in TEXTS:
        ((found,),) = vectors(engines[kind], ask(text))
        near(found, tiny.vector(text))
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    apart = [tiny.vector(text) for text in TEXTS[:3]]
    assert min(np.abs(apart[0] - apart[1]).max(), np.abs(apart[1] - apart[2]).max()) > 0.1, "it would notice"


@pytest.mark.parametrize("max_batch_tokens", [512, 64, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_ragged_batch_is_each_alone(encoders: Encoders, kind: str, max_batch_tokens: int) -> None:
    tiny: TinyEncoder = encoders[kind]
    engine = open_engine(model_of(tiny, options={"max_batch_tokens": max_batch_tokens}))
    rows = ragged(40)
    requests = [
        EmbeddingRequest(model="tiny", ids=tuple(rows[:25]), owner="a"),
        EmbeddingRequest(model="tiny", ids=tuple(rows[25:]), owner="b"),
        ask(*TEXTS, owner="b"),
    ]
    first, second, third = vectors(engine, *requests)
    for row, found in zip(rows, first + second, strict=True):
        near(found, tiny.vector(row))
    for text, found in zip(TEXTS, third, strict=True):
        near(found, tiny.vector(text))
    assert engine.steps == len(rows) + len(TEXTS) if max_batch_tokens == 1 else engine.steps < 40
    engine.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimensions", [1, 17, 64])
def test_fewer_dimensions_are_the_first_ones_at_unit_length(
    encoders: Encoders, engines: dict[str, EmbeddingEngine], kind: str, dimensions: int
) -> None:
    text = TEXTS[1]
    ((found,),) = vectors(engines[kind], ask(text, dimensions=dimensions))
    assert len(found) == dimensions
    near(found, encoders[kind].vector(text, dimensions))


@pytest.mark.parametrize("kind", KINDS)
def test_to_the_end_of_the_context(
    encoders: Encoders, engines: dict[str, EmbeddingEngine], kind: str
) -> None:
    tiny: TinyEncoder = encoders[kind]
    engine = engines[kind]
    longest = engine.info().context_length
    assert longest == (256 if kind == "qwen" else 48), "the model's, which is less than the catalog's 512"
    ids = tuple(ragged(1, 1)[0] * longest)
    ((found,),) = vectors(engine, EmbeddingRequest(model="tiny", ids=(ids,)))
    near(found, tiny.vector(ids))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_the_option_wins_over_the_files(encoders: Encoders, pooling: str) -> None:
    tiny: TinyEncoder = encoders["bert"]
    chosen = TinyEncoder(tiny.directory, pooling, tiny.reference, tiny.tokenizer)
    engine = open_engine(model_of(tiny, options={"pooling": pooling}))
    for found, text in zip(vectors(engine, ask(*TEXTS))[0], TEXTS, strict=True):
        near(found, chosen.vector(text))
    engine.close()
