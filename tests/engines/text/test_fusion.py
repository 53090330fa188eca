"""Joining the projections of a layer changes their number, not their sums."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from quintet.engines.text.fusion import join_projections
from tests.conftest import TinyModel


def count_products(model: ov.Model) -> int:
    return sum(node.get_type_name() == "MatMul" for node in model.get_ordered_ops())


def test_a_real_model_has_two_products_less_for_attention_and_one_less_for_its_gate(tiny: TinyModel) -> None:
    model = ov.Core().read_model(tiny.directory / "openvino_model.xml")
    before = count_products(model)
    assert join_projections(model) == 4, "two layers, each with attention and a gated network"
    assert count_products(model) == before - 2 * (2 + 1)


def compressed(rows: int, *, zero_point: bool, seed: int) -> tuple[ov.Node, np.ndarray]:
    """A weight [rows, 8] as the exporter writes it (u8, per-row scale), and its value."""
    random = np.random.default_rng(seed)
    packed = random.integers(0, 255, (rows, 8), np.uint8)
    scale = random.random((rows, 1), np.float32).astype(np.float16)
    zero = random.integers(100, 150, (rows, 1), np.uint8)
    node = ops.convert(ops.constant(packed), ov.Type.f16)
    value = packed.astype(np.float32)
    if zero_point:
        node = ops.subtract(node, ops.convert(ops.constant(zero), ov.Type.f16))
        value = value - zero
    node = ops.multiply(node, ops.constant(scale))
    return ops.convert(node, ov.Type.f32), value * scale.astype(np.float32)


@pytest.mark.parametrize("zero_points", [(True, True, True), (False, False), (True, False)])
def test_compressed_weights_give_the_same_products(zero_points: tuple[bool, ...]) -> None:
    x = ops.parameter([-1, 8], np.float32)
    weights = [compressed(4 + 4 * n, zero_point=flag, seed=n) for n, flag in enumerate(zero_points)]
    products = [ops.matmul(x, node, False, True) for node, _ in weights]
    model = ov.Model([ops.result(ops.relu(product)) for product in products], [x])
    joined = join_projections(model)
    assert joined == (1 if len(set(zero_points)) == 1 else 0), "only weights of one pattern are joined"
    given = np.random.default_rng(9).standard_normal((3, 8), np.float32)
    results = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([given])
    for (_, value), result in zip(weights, results.values(), strict=True):
        assert np.allclose(result, np.maximum(given @ value.T, 0), rtol=1e-3, atol=1e-2)


def test_a_product_of_two_inputs_is_left_alone() -> None:
    x, w = ops.parameter([-1, 8], np.float32), ops.parameter([4, 8], np.float32)
    model = ov.Model([ops.result(ops.matmul(x, w, False, True)) for _ in range(2)], [x, w])
    assert join_projections(model) == 0
