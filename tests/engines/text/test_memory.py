"""KV caches that fit the machine, and models that don't."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from quintet.core.errors import LoadFailed
from quintet.core.machine import free_memory_bytes
from quintet.core.models import Model
from quintet.engines.text.engine import open_engine
from quintet.engines.text.memory import SHARE, CacheWish, check_weights, count_blocks
from quintet.engines.text.settings import Settings, context_of
from tests.conftest import TinyModel
from tests.engines.text.conftest import Open

KB, MB = 1 << 10, 1 << 20


def test_as_many_contexts_as_sequences() -> None:
    wish = CacheWish(context_length=1000, max_sequences=10)
    assert count_blocks(wish, 1 * KB, 32) == (32 + 1) * 10


def test_no_more_than_a_share_of_the_free_memory() -> None:
    wish = CacheWish(context_length=100_000, max_sequences=1_000_000)
    blocks = count_blocks(wish, 1 * MB, 32)
    assert blocks * MB == pytest.approx(free_memory_bytes() * SHARE, rel=0.5)


def test_what_the_operator_chose() -> None:
    assert count_blocks(CacheWish(context_length=64, max_sequences=8, megabytes=10), 100 * KB, 32) == 102
    assert count_blocks(CacheWish(context_length=6400, megabytes=1), 100 * KB, 32) == 201, (
        "one context fits anyhow"
    )


def test_more_than_there_is() -> None:
    with pytest.raises(LoadFailed, match=r"One context of 1,000,000,000 tokens takes \d+\.\d GB") as refusal:
        count_blocks(CacheWish(context_length=10**9), 1 * MB, 32)
    advice = re.search(r"Set context_length to ([\d,]+) or less", refusal.value.message)
    assert advice
    fits = int(advice[1].replace(",", ""))
    assert count_blocks(CacheWish(context_length=fits - 32 * 1024), 1 * MB, 32) > 0, "the advice works"
    with pytest.raises(
        LoadFailed, match=r"kv_cache_mb asks for \d+\.\d GB of memory, and \d+\.\d GB are free"
    ):
        count_blocks(CacheWish(context_length=64, megabytes=10**9), 1 * KB, 32)


def test_weights_larger_than_the_free_memory(tiny: TinyModel, tmp_path: Path) -> None:
    """The file is four terabytes long and empty; it must be refused unread."""
    shutil.copytree(tiny.directory, tmp_path / "large")
    with (tmp_path / "large" / "openvino_model.bin").open("wb") as file:
        file.truncate(1 << 42)
    model = Model(name="large", task="text", engine="text", path=str(tmp_path / "large"), context_length=64)
    with pytest.raises(LoadFailed, match=r"weights take 4398\.0 GB of memory, and \d+\.\d GB are free"):
        open_engine(model)
    check_weights(tiny.directory / "openvino_model.xml")


def test_an_engine_without_options_holds_whole_contexts(tiny: TinyModel, drive: Open) -> None:
    model = Model(name="tiny", task="text", engine="text", path=str(tiny.directory), context_length=512)
    engine = open_engine(model)
    assert engine.executor.blocks == 17 * Settings().max_sequences
    engine.close()
    assert drive(kv_cache_mb=0).engine.executor.blocks == 17


@pytest.mark.parametrize(
    ("catalog", "config", "expected"),
    [
        (4096, {}, 4096),
        (4096, {"max_position_embeddings": 8192}, 4096),
        (4096, {"max_position_embeddings": 1024}, 1024),
        (4096, {"text_config": {"max_position_embeddings": 1024}}, 1024),
        (
            4096,
            {
                "max_position_embeddings": 2048,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
            },
            4096,
        ),
        (
            9000,
            {"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            4096,
        ),
        (
            9000,
            {"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "llama3", "factor": 8.0}},
            2048,
        ),
    ],
)
def test_the_context_is_what_the_weights_have_positions_for(
    catalog: int, config: dict, expected: int
) -> None:
    model = Model(name="tiny", task="text", engine="text", context_length=catalog)
    assert context_of(model, config) == expected
