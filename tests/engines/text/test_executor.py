"""The private door of OpenVINO that paged attention goes through, and the model behind it."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from quintet.core.errors import LoadFailed
from quintet.engines.text.executor import Chunk, Executor
from quintet.engines.text.memory import CacheWish
from tests.conftest import TinyModel

MOVED = "OpenVINO's private door moved: read docs about the pinned version before changing it"


def test_the_private_door_is_where_it_was(tiny: TinyModel) -> None:
    try:
        from openvino._offline_transformations import paged_attention_transformation
    except ImportError:
        pytest.fail(MOVED)
    model = ov.Core().read_model(tiny.directory / "openvino_model.xml")
    paged_attention_transformation(model, False, False, False)
    kinds = {port.get_any_name(): str(port.get_element_type()) for port in model.inputs}
    caches = {name for name in kinds if "_cache." in name}
    assert {name: kinds[name] for name in set(kinds) - caches} == {
        "input_ids": "<Type: 'int64_t'>",
        "position_ids": "<Type: 'int64_t'>",
        "past_lens": "<Type: 'int32_t'>",
        "subsequence_begins": "<Type: 'int32_t'>",
        "block_indices": "<Type: 'int32_t'>",
        "block_indices_begins": "<Type: 'int32_t'>",
        "max_context_len": "<Type: 'int32_t'>",
    }, MOVED
    assert caches == {f"{kind}_cache.{layer}" for kind in ("key", "value") for layer in (0, 1)}, MOVED


def test_openvino_can_not_cache_a_compiled_model_with_paged_attention(tiny: TinyModel) -> None:
    """When this fails, decision 0009 can be taken again: loading could skip the compiler."""
    from openvino._offline_transformations import paged_attention_transformation

    core = ov.Core()
    model = core.read_model(tiny.directory / "openvino_model.xml")
    paged_attention_transformation(model, False, False, False)
    exported = core.compile_model(model, "CPU").export_model()
    with pytest.raises(RuntimeError, match="k_head_size"):
        core.import_model(exported.getvalue(), "CPU")


@pytest.fixture
def executor(tiny: TinyModel) -> Executor:
    properties = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    cache = CacheWish(context_length=256, megabytes=0)
    return Executor(tiny.directory, cache=cache, properties=properties)


def test_any_rows_in_any_order_of_blocks(tiny: TinyModel, executor: Executor) -> None:
    assert executor.blocks == 9
    assert executor.block_size == 32, MOVED
    ids = [3 + (7 * position) % 240 for position in range(100)]
    with torch.inference_mode():
        expected = tiny.reference(torch.tensor([ids])).logits[0].numpy()
    table = array("i", [7, 2, 5, 0])
    first = executor.run([Chunk(ids[:50], 0, table[:2], [])])
    assert first.shape == (0, executor.vocabulary_size)
    logits = executor.run(
        [Chunk(ids[50:90], 50, table[:3], [0, 39]), Chunk(ids[:5], 0, array("i", [1]), [2])]
    )
    assert np.allclose(logits, expected[[50, 89, 2]], atol=1e-3)
    last = executor.run([Chunk(ids[90:], 90, table, range(10))])
    assert np.allclose(last, expected[90:], atol=1e-3)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"openvino_model\.xml"):
        Executor(tmp_path, cache=CacheWish(context_length=32))
