"""Joins projections that read the same input: query, key and value become one product, gate and up another.

A small batch is bound by the number of products, not by their size: each one ends in a barrier of all threads.
The weights keep their compressed type, because the pattern around them (Convert, Subtract, Multiply) is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Listed

import numpy as np
import openvino as ov
from openvino import Node
from openvino import opset13 as ops

_JOINED = {"Subtract": ops.subtract, "Multiply": ops.multiply}


def join_projections(model: ov.Model) -> int:
    """Rewrite `model` in place; returns how many products were joined from two or more."""
    by_input: dict[tuple[str, int], list[Node]] = defaultdict(list)
    for node in model.get_ordered_ops():
        if _is_projection(node):
            source = node.input_value(0)
            by_input[source.get_node().get_friendly_name(), source.get_index()].append(node)
    joined = sum(_join(nodes) for nodes in by_input.values() if len(nodes) > 1)
    model.validate_nodes_and_infer_types()
    return joined


def _is_projection(node: Node) -> bool:
    """Whether it is x·Wᵀ with a W that is known at load time."""
    if node.get_type_name() != "MatMul":
        return False
    attributes = node.get_attributes()
    return attributes["transpose_b"] and not attributes["transpose_a"] and _is_weight(node.input_value(1))


def _is_weight(value: ov.Output) -> bool:
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return True
    return (
        bool(node.inputs()) and node.get_type_name() != "Gather" and all(map(_is_weight, node.input_values()))
    )


def _join(nodes: list[Node]) -> bool:
    sizes = [node.get_output_partial_shape(0)[-1].get_length() for node in nodes]
    weight = _stack([node.input_value(1).get_node() for node in nodes], sizes)
    if weight is None:
        return False
    product = ops.matmul(nodes[0].input_value(0), weight, False, True)
    parts = ops.variadic_split(product, ops.constant(-1, np.int64), ops.constant(sizes, np.int64))
    for index, node in enumerate(nodes):
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(parts.output(index))
    return True


def _stack(nodes: Listed[Node], sizes: Listed[int]) -> Node | None:
    """The same pattern over all weights, stacked along their rows; None if they are not of one pattern."""
    kind = nodes[0].get_type_name()
    if any(
        node.get_type_name() != kind or node.get_element_type() != nodes[0].get_element_type()
        for node in nodes
    ):
        return None
    if kind == "Constant":
        return _stack_constants(nodes, sizes)
    first = _stack([node.input_value(0).get_node() for node in nodes], sizes)
    if first is None:
        return None
    if kind == "Convert":
        return ops.convert(first, nodes[0].get_element_type())
    second = _stack([node.input_value(1).get_node() for node in nodes], sizes) if kind in _JOINED else None
    return _JOINED[kind](first, second) if second is not None else None


def _stack_constants(nodes: Listed[Node], sizes: Listed[int]) -> Node | None:
    if nodes[0].get_element_type().bitwidth < 8:
        return None  # Packed types are left as they are: their rows need not end on a byte.
    arrays = [node.data for node in nodes]
    rows = [array.shape[0] if array.ndim > 1 else 0 for array in arrays]
    if rows != list(sizes) or len({array.shape[1:] for array in arrays}) > 1:
        return None
    shape = ov.Shape([sum(rows), *arrays[0].shape[1:]])
    stacked = ov.Tensor(nodes[0].get_element_type(), shape)  # Owns its memory, which the graph keeps.
    np.concatenate(arrays, out=stacked.data)
    return ops.constant(stacked)
