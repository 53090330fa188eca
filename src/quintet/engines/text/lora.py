"""Low-rank adapters inside the graph: y = W·x + B·(A·x ∘ m), for all adapters at once, chosen per token.

Every projection W of a layer gets two inputs, A [R, in] and B [out, R], R being the ranks of all loaded adapters
together; m [T, 1, R] holds ones where a token's own adapter lies. They are inputs, not constants, so an adapter comes
and goes without compiling anything. Source of the formula: Hu et al. arXiv:2106.09685; of the batching: Chen et al.
arXiv:2310.18547.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from quintet.core.errors import LoadFailed

MASK = "adapter_mask"
_MODULE = re.compile(r"__module\.(.*\.layers\.\d+\..+?)/")

Matrix = npt.NDArray[np.float32]
Pair = tuple[Matrix, Matrix]
"""A [rank, in] and B [out, rank] of one projection; B holds the adapter's scale already."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an adapter lies among the ranks: [start, end)."""

    start: int
    end: int


class AdapterInputs:
    """The adapter inputs of one graph: added before it is compiled, filled between steps."""

    def __init__(self, model: ov.Model, *, precision: str = "") -> None:
        """Add inputs for every projection of every layer; `precision` f32 keeps them exact, else they are bf16."""
        self._type = ov.Type.f32 if precision == "f32" else ov.Type.bf16
        self._mask = np.zeros((0, 1, 1), np.float32)
        self._rank = 1
        self.sizes: dict[str, tuple[int, int]] = {}
        """The projections by their name in the checkpoint, with (in, out)."""
        mask = _parameter(MASK, [-1, 1, -1], ov.Type.f32)
        parameters = [mask]
        for node in model.get_ordered_ops():
            found = _MODULE.match(node.get_friendly_name())
            if node.get_type_name() == "MatMul" and found and node.get_attributes()["transpose_b"]:
                parameters += self._attach(node, found[1], mask)
        if not self.sizes:
            raise LoadFailed(
                "this model has no projections that adapters could change; load it without adapters."
            )
        model.add_parameters(parameters)

    def fill(self, request: ov.InferRequest, adapters: Mapping[str, Mapping[str, Pair]]) -> dict[str, Slot]:
        """Give the graph these adapters, each {projection: (A, B)}; returns where each one lies."""
        slots: dict[str, Slot] = {}
        start = 0
        for name, pairs in adapters.items():
            rank = max(a.shape[0] for a, _ in pairs.values())
            slots[name] = Slot(start, start + rank)
            start += rank
        self._rank = max(start, 1)
        for module, (size_in, size_out) in self.sizes.items():
            a = np.zeros((self._rank, size_in), np.float32)
            b = np.zeros((size_out, self._rank), np.float32)
            for name, pairs in adapters.items():
                if module in pairs:
                    part_a, part_b = pairs[module]
                    first = slots[name].start
                    a[first : first + part_a.shape[0]] = part_a
                    b[:, first : first + part_a.shape[0]] = part_b
            request.set_tensor(_name("a", module), self._tensor(a))
            request.set_tensor(_name("b", module), self._tensor(b))
        self._mask = np.zeros((0, 1, self._rank), np.float32)
        return slots

    def choose(self, request: ov.InferRequest, tokens: int, slots: list[tuple[int, int, Slot]]) -> None:
        """Say which of the step's `tokens` have an adapter: (first token, one past the last, its slot)."""
        if len(self._mask) != tokens:
            self._mask = np.zeros((tokens, 1, self._rank), np.float32)
            request.set_tensor(MASK, ov.Tensor(self._mask, shared_memory=True))
        self._mask[...] = 0
        for first, end, slot in slots:
            self._mask[first:end, 0, slot.start : slot.end] = 1

    def _attach(self, node: ov.Node, module: str, mask: ov.Node) -> list[ov.Node]:
        size_in = node.get_input_partial_shape(0)[-1].get_length()
        size_out = node.get_output_partial_shape(0)[-1].get_length()
        a = _parameter(_name("a", module), [-1, size_in], self._type)
        b = _parameter(_name("b", module), [size_out, -1], self._type)
        targets = list(node.output(0).get_target_inputs())
        low = ops.matmul(node.input_value(0), ops.convert(a, ov.Type.f32), False, True)
        change = ops.matmul(ops.multiply(low, mask), ops.convert(b, ov.Type.f32), False, True)
        changed = ops.add(node, change)
        for target in targets:
            target.replace_source_output(changed.output(0))
        self.sizes[module] = (size_in, size_out)
        return [a, b]

    def _tensor(self, values: Matrix) -> ov.Tensor:
        tensor = ov.Tensor(self._type, ov.Shape(values.shape))
        if self._type == ov.Type.f32:
            tensor.data[...] = values
        else:
            # bf16 is the upper half of a float32; adding half of the last place rounds to the nearest.
            rounded = (values.view(np.uint32) + np.uint32(0x8000)) >> 16
            tensor.data.view(np.uint16)[...] = rounded.astype(np.uint16)
        return tensor


def _name(kind: str, module: str) -> str:
    return f"adapter_{kind}.{module}"


def _parameter(name: str, shape: list[int], kind: Any) -> ov.Node:
    node = ops.parameter(shape, kind, name=name)
    node.get_output_tensor(0).set_names({name})
    return node
