"""The model itself: an encoder's IR, compiled for one device; rows of token ids in, one vector per row out.

Shapes: a batch of B texts padded on the right to T tokens; H numbers in a vector.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from quintet.core.errors import LoadFailed
from quintet.engines.embed.files import Config
from quintet.engines.embed.pooling import Vectors, find_pooling, pool, unit

POOLED = "sentence_embedding"
"""The output of models that were converted with their pooling inside."""
PER_TOKEN = ("last_hidden_state", "token_embeddings")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_WARM_UP_SECONDS = 120.0


class Encoder:
    """One compiled model, and how the vectors of its tokens become one."""

    def __init__(
        self, directory: Path, *, pooling: str, device: str = "CPU", properties: dict[str, Any] | None = None
    ) -> None:
        """Compile `directory`/openvino_model.xml; raises LoadFailed. `pooling` "" is found out from the files.

        `properties` go to OpenVINO (INFERENCE_PRECISION_HINT, …).
        """
        path = directory / "openvino_model.xml"
        if not path.is_file():
            raise LoadFailed(
                "the model directory has no openvino_model.xml; pull or convert the model again."
            )
        config = Config(directory)
        core = ov.Core()
        model = core.read_model(path)
        self._names = _input_names(model)
        self._output, self._pooling = _choose_output(model, directory, pooling)
        self.vocabulary_size = _vocabulary_size(model) or config.vocabulary_size or 0
        if not self.vocabulary_size:
            raise LoadFailed("config.json has no vocab_size; pull or convert the model again.")
        self._pad_id = config.pad_id if config.pad_id < self.vocabulary_size else 0
        self.positions = config.positions
        self.device = device
        self._compiled = core.compile_model(model, device, properties or {})
        self._request = self._compiled.create_infer_request()
        # Also lets the first caller not pay for what is compiled lazily.
        self.start([[self._pad_id]])
        warm = self.take(_WARM_UP_SECONDS)
        if warm is None:
            raise LoadFailed("the model does not read even one token in time; choose a smaller one.")
        self.dimensions = int(warm.shape[1])

    def start(self, rows: Sequence[Sequence[int]]) -> None:
        """Begin to read B rows of token ids, none empty."""
        lengths = np.array([len(row) for row in rows])
        shape = (len(rows), int(lengths.max()))
        mask = np.arange(shape[1]) < lengths[:, None]
        ids = np.full(shape, self._pad_id, np.int64)
        ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
        given = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
        if "token_type_ids" in self._names:
            given["token_type_ids"] = np.zeros(shape, np.int64)
        if "position_ids" in self._names:
            given["position_ids"] = np.broadcast_to(np.arange(shape[1]), shape).copy()
        self._lengths = lengths
        self._given = {name: given[name] for name in self._names}  # the model reads this very memory
        self._request.start_async(self._given, share_inputs=True)

    def take(self, wait_seconds: float) -> Vectors | None:
        """The unit vectors [B, H] of the rows that were started, or None if they are not ready by then."""
        if not self._request.wait_for(int(wait_seconds * 1000)):
            return None
        self._request.wait()
        found = np.asarray(self._request.get_tensor(self._output).data, np.float32)
        return unit(pool(found, self._lengths, self._pooling) if self._pooling else found)

    def abort(self) -> None:
        """Stop reading; takes as long as one layer does."""
        self._request.cancel()
        with contextlib.suppress(RuntimeError):  # that it was cancelled
            self._request.wait()

    def close(self) -> None:
        """Free the model."""
        self.__dict__.pop("_request", None)
        self.__dict__.pop("_compiled", None)


def _input_names(model: ov.Model) -> list[str]:
    """The model's inputs by their known names."""
    names = [next(iter(port.get_names() & _INPUTS), port.get_any_name()) for port in model.inputs]
    unknown = sorted(set(names) - _INPUTS)
    if unknown or "input_ids" not in names:
        raise LoadFailed(
            "this is no encoder that reads a text at once"
            + (f" (it has an input {unknown[0]!r})" if unknown else "")
            + "; convert the model again, for feature extraction."
        )
    return names


def _choose_output(model: ov.Model, directory: Path, pooling: str) -> tuple[str, str]:
    """Which output to read, and how to pool it: "" = it is pooled."""
    names = {name for port in model.outputs for name in port.get_names()}
    if POOLED in names and not pooling:
        return POOLED, ""
    for name in PER_TOKEN:
        if name in names:
            return name, find_pooling(directory, pooling)
    raise LoadFailed(
        "the model's output is not the hidden state of its tokens; convert the model again, for feature extraction."
    )


def _vocabulary_size(model: ov.Model) -> int | None:
    """How many rows the table has in which ids are looked up."""
    ports = list(model.input("input_ids").get_target_inputs())
    while ports:
        port = ports.pop()
        node = port.get_node()
        if node.get_type_name() == "Gather" and port.get_index() == 1:
            rows = node.input(0).get_partial_shape()[0]
            return rows.get_length() if rows.is_static else None
        if node.get_type_name() == "Convert":
            ports.extend(node.output(0).get_target_inputs())
    return None
