"""The model itself: an IR with paged attention, compiled for one device; token chunks in, logits of chosen rows out.

Shapes: a batch of S sequences with T tokens in all; R rows are sampled; V = vocabulary size. The private door
`openvino._offline_transformations` is why openvino's version is pinned; a test fails loudly when it moves.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence as Listed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from quintet.core.errors import LoadFailed
from quintet.engines.text.fusion import join_projections
from quintet.engines.text.grafting import LANGUAGE_MODEL, graft_embeddings
from quintet.engines.text.lora import AdapterInputs, Slot
from quintet.engines.text.memory import CacheWish, check_weights, count_blocks
from quintet.engines.text.positions import fix_longest_position
from quintet.engines.text.vision.family import Positions, Rows

Logits = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
"""Indices of tokens."""

BLOCK_SIZE = {"CPU": 32, "GPU": 16}
"""Tokens per KV block, fixed by OpenVINO's kernels."""
_NUMPY_TYPE = {"q": np.int64, "i": np.int32}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of one sequence that the model reads in this step."""

    ids: Listed[int]
    past: int
    """Tokens of the sequence that are already in the cache."""
    blocks: array[int]
    """The sequence's block table, long enough for past + ids."""
    rows: Listed[int]
    """Positions within `ids` whose logits are wanted."""
    adapter: Slot | None = None
    """Where its adapter lies, if it has one."""
    pictures: Listed[tuple[Places, Rows]] = ()
    """Which of `ids` pictures replace, by their index, and the rows [places, width] that stand there."""
    positions: Positions | None = None
    """Positions [axes, ids] where they are not just counted."""


class Executor:
    """One compiled model and its KV cache."""

    def __init__(
        self,
        directory: Path,
        *,
        device: str = "CPU",
        cache: CacheWish,
        properties: dict[str, Any] | None = None,
        takes_adapters: bool = False,
    ) -> None:
        """Compile `directory`/openvino_model.xml with the KV cache that is wished for; raises LoadFailed.

        `properties` go to OpenVINO (INFERENCE_PRECISION_HINT, KV_CACHE_PRECISION, …).
        """
        core = ov.Core()
        model, self.width = _read(core, directory, cache.context_length)
        """Of the rows that pictures become; 0 for a model without eyes."""
        precision = (properties or {}).get("INFERENCE_PRECISION_HINT", "")
        self.adapter_inputs = AdapterInputs(model, precision=precision) if takes_adapters else None
        join_projections(model)
        self._compiled = core.compile_model(model, device, properties or {})
        self.request = self._compiled.create_infer_request()
        """OpenVINO's own; adapters set their inputs on it."""
        self.block_size = BLOCK_SIZE.get(device.split(".")[0], 16)
        self.vocabulary_size = self._compiled.output(0).get_partial_shape()[-1].get_length()
        self.blocks = self._allocate(cache)
        self._inputs: dict[str, npt.NDArray[Any]] = {}
        """The memory of the input tensors that are set now."""
        shape = self._compiled.input("position_ids").get_partial_shape()
        self.axes = shape[0].get_length() if len(shape) == 2 else 1
        """How many numbers a token's position has."""
        self._shown = -1
        """Picture rows of the last step."""
        self._longest = np.zeros((), np.int32)
        self.request.set_tensor("max_context_len", ov.Tensor(self._longest, shared_memory=True))
        if self.adapter_inputs is not None:
            self.adapter_inputs.fill(self.request, {})
        self.device = device

    def run(self, chunks: Listed[Chunk]) -> Logits:
        """Read the chunks; returns [R, V] logits of the wanted rows, in order, valid until the next call."""
        # Plain arrays, because between two passes of a small batch every numpy call counts.
        ids, positions, rows = array("q"), array("q"), array("q")
        past, begins, blocks, held = array("i"), array("i", [0]), array("i"), array("i", [0])
        longest = 0
        adapted: list[tuple[int, int, Slot]] = []
        for chunk in chunks:
            first, end = len(ids), chunk.past + len(chunk.ids)
            rows.extend([first + row for row in chunk.rows])
            ids.extend(chunk.ids)
            positions.extend(range(chunk.past, end))
            past.append(chunk.past)
            begins.append(len(ids))
            blocks.extend(chunk.blocks)
            held.append(len(blocks))
            longest = max(longest, end)
            if chunk.adapter is not None:
                adapted.append((first, len(ids), chunk.adapter))
        wanted = len(rows)
        if not rows:
            rows.append(0)  # An empty gather is not worth a special graph: one unwanted row is cheaper.
        self._set("input_ids", ids)
        if self.axes == 1:
            self._set("position_ids", positions)
        else:
            self._set_positions(chunks)
        self._set("past_lens", past)
        self._set("subsequence_begins", begins)
        self._set("block_indices_begins", held)
        self._set("block_indices", blocks)
        self._set("sampled_tokens_indices", rows)
        if self.width:
            self._set_pictures(chunks)
        self._longest[...] = longest
        if self.adapter_inputs is not None:
            self.adapter_inputs.choose(self.request, len(ids), adapted)
        # Without share_outputs the binding would copy all logits once more.
        self.request.infer(share_outputs=True)
        logits: Logits = self.request.get_output_tensor(0).data.reshape(-1, self.vocabulary_size)
        return logits[:wanted]

    def close(self) -> None:
        """Free the model and its cache."""
        self.__dict__.pop("request", None)
        self.__dict__.pop("_compiled", None)

    def _set(self, name: str, values: array[int]) -> None:
        """Give the model a list of numbers: written into the tensor of the last step if it is as long."""
        known = self._inputs.get(name)
        if known is None or len(known) != len(values):
            known = self._inputs[name] = np.empty(len(values), _NUMPY_TYPE[values.typecode])
            self.request.set_tensor(name, ov.Tensor(known, shared_memory=True))
        known[:] = np.frombuffer(values, known.dtype)

    def _set_positions(self, chunks: Listed[Chunk]) -> None:
        """Positions [axes, T] of models that see where a token stands in a picture."""
        counted = (
            np.broadcast_to(np.arange(one.past, one.past + len(one.ids)), (self.axes, len(one.ids)))
            if one.positions is None
            else one.positions
            for one in chunks
        )
        whole = np.ascontiguousarray(np.concatenate(list(counted), axis=1), np.int64)
        self.request.set_tensor("position_ids", ov.Tensor(whole, shared_memory=False))

    def _set_pictures(self, chunks: Listed[Chunk]) -> None:
        """The rows of this step's pictures, and the tokens they replace."""
        places: list[Places] = []
        rows: list[Rows] = []
        first = 0
        for chunk in chunks:
            for where, what in chunk.pictures:
                places.append(where + first)
                rows.append(what)
            first += len(chunk.ids)
        shown = sum(map(len, places))
        if not shown and self._shown == 0:
            return
        self._shown = shown
        indices = np.concatenate(places) if places else np.zeros(0, np.int64)
        table = np.concatenate(rows) if rows else np.zeros((0, self.width), np.float32)
        self.request.set_tensor("picture_positions", ov.Tensor(indices, shared_memory=False))
        self.request.set_tensor("picture_rows", ov.Tensor(table, shared_memory=False))

    def _allocate(self, cache: CacheWish) -> int:
        """Set the cache tensors once; returns how many blocks they hold."""
        caches = [port for port in self._compiled.inputs if "_cache." in port.get_any_name()]
        shapes = [
            [dimension.get_length() for dimension in list(port.get_partial_shape())[1:]] for port in caches
        ]
        per_block = sum(
            math.prod(shape) * port.get_element_type().bitwidth // 8
            for port, shape in zip(caches, shapes, strict=True)
        )
        blocks = count_blocks(cache, per_block, self.block_size)
        for port, shape in zip(caches, shapes, strict=True):
            tensor = ov.Tensor(port.get_element_type(), ov.Shape([blocks, *shape]))
            self.request.set_tensor(port.get_any_name(), tensor)
        return blocks


def _read(core: ov.Core, directory: Path, context_length: int) -> tuple[ov.Model, int]:
    """The model in this directory, rewritten for paged attention, and the width of picture rows; raises LoadFailed.

    OpenVINO's cache of compiled models is left off: it can't load paged attention (docs/decisions/0009-conversion.md).
    """
    in_parts = directory / LANGUAGE_MODEL
    path = in_parts if in_parts.is_file() else directory / "openvino_model.xml"
    check_weights(path)
    model = core.read_model(path)
    paged_attention_transformation(model, False, False, False)
    width = graft_embeddings(core, model, directory) if path == in_parts else 0
    _select_rows(model)
    fix_longest_position(model, context_length)
    return model, width


def _select_rows(model: ov.Model) -> None:
    """Give the last MatMul only the rows that are sampled; a prompt's other rows cost no logits."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        if not node.inputs():
            raise LoadFailed(
                "the model's output is not a matrix product; convert it with a current exporter."
            )
        node = node.input_value(0).get_node()
    wanted = ops.parameter([-1], np.int64, name="sampled_tokens_indices")
    wanted.get_output_tensor(0).set_names({"sampled_tokens_indices"})
    rows = ops.gather(node.input_value(0), wanted, ops.constant(0, dtype=np.int64))
    node.input(0).replace_source_output(rows.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()
