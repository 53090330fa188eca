"""Rotary embeddings that depend on how long a text is (longrope): decided once, by the context, not by the batch.

Such a model has two sets of frequencies and takes the longer one as soon as a position beyond the trained context
comes up – in the exported graph, anywhere in the batch. One caller's long text would change what all others get, and
keys in the cache would be of both kinds. So a model with a context beyond the trained one always takes the long set,
and any other one never does, as other servers do.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import Node
from openvino import opset13 as ops

_PASSED = ("Unsqueeze", "Squeeze", "Reshape", "Convert")


def fix_longest_position(model: ov.Model, context_length: int) -> int:
    """Let every maximum over the batch's positions be the context's last one; returns how many there were."""
    found = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "ReduceMax" and _source(node) == "position_ids"
    ]
    for node in found:
        shape = [dimension.get_length() for dimension in node.get_output_partial_shape(0)]
        last = np.full(shape, context_length - 1)
        constant = ops.constant(last, dtype=node.get_output_element_type(0))
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(constant.output(0))
    if found:
        model.validate_nodes_and_infer_types()
    return len(found)


def _source(node: Node) -> str:
    """The model's input that this node looks at; empty if there is more in between."""
    above = node.input_value(0)
    while above.get_node().get_type_name() in _PASSED:
        above = above.get_node().input_value(0)
    if above.get_node().get_type_name() != "Parameter":
        return ""
    return next(iter(above.get_names()), "")
