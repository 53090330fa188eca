"""Gives a language model that takes embeddings its token ids back, with rows that replace some of them.

Vision models are exported in parts: one makes embeddings of ids, one of pictures, one goes on from embeddings. Here
the first is set in front of the last, so that text costs what it costs in a text model, and a picture's rows are
written over the embeddings of its placeholder tokens: `picture_positions` [K] i64 are indices into the step's tokens,
`picture_rows` [K, width] f32 what stands there. K is 0 in most steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from quintet.core.errors import LoadFailed

LANGUAGE_MODEL = "openvino_language_model.xml"
TEXT_EMBEDDINGS = "openvino_text_embeddings_model.xml"
VISION_EMBEDDINGS = "openvino_vision_embeddings_model.xml"


def graft_embeddings(core: ov.Core, model: ov.Model, directory: Path) -> int:
    """Let `model`, already made for paged attention, take ids and picture rows; returns the width of a row.

    Raises LoadFailed if the parts don't fit.
    """
    path = directory / TEXT_EMBEDDINGS
    if not path.is_file():
        raise LoadFailed(f"the model directory has no {path.name}; pull or convert the model again.")
    embedder = core.read_model(path)
    ids = embedder.get_parameters()[0]
    embedder.reshape({ids.output(0).get_any_name(): ov.PartialShape([-1])})
    embeddings = embedder.get_results()[0].input_value(0)
    shape = embeddings.get_partial_shape()
    taken = [one for one in model.get_parameters() if "inputs_embeds" in one.output(0).get_names()]
    if len(embedder.get_parameters()) != 1 or len(taken) != 1 or len(shape) != 2 or shape[1].is_dynamic:
        raise LoadFailed("the model's parts don't fit together; pull or convert the model again.")
    width: int = shape[1].get_length()
    ids.output(0).set_names({"input_ids"})
    positions = ops.parameter([-1], np.int64, name="picture_positions")
    positions.output(0).set_names({"picture_positions"})
    rows = ops.parameter([-1, width], np.float32, name="picture_rows")
    rows.output(0).set_names({"picture_rows"})
    merged = ops.scatter_update(embeddings, positions, rows, ops.constant(0, dtype=np.int64))
    for target in list(taken[0].output(0).get_target_inputs()):
        target.replace_source_output(merged.output(0))
    model.remove_parameter(taken[0])
    model.add_parameters([ids, positions, rows])
    model.validate_nodes_and_infer_types()
    return width
