"""A denoiser in OpenVINO's form: made from a torch module, kept as two IRs, and run.

Two, because its waves, the sines and cosines of times and places, need float32 all along: of times above 512, bfloat16
knows every fourth only. They cost nothing, so they are a model of their own, whose results the other one reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from openvino import opset13 as ops

from quintet.engines.image.denoiser_inputs import TRACED, Inputs

MAIN, WAVES = "denoiser.xml", "waves.xml"
FILES = (MAIN, "denoiser.bin", WAVES, "waves.bin")
Array = npt.NDArray[np.float32]


class _Flat(torch.nn.Module):  # type: ignore[misc]
    """The denoiser as a function of tensors alone."""

    def __init__(self, module: torch.nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        named = self.inputs.nest(dict(zip(self.inputs.widths, tensors, strict=True)))
        made: torch.Tensor = self.module(**named, return_dict=False)[0]
        return made


def convert(module: torch.nn.Module, inputs: Inputs, folder: Path) -> None:
    """Write a float32 module as IRs into an empty folder, the weights in float16. They are not copied on the way."""
    examples = tuple(inputs.example(TRACED).values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # of tracing: which dimensions vary is seen to below, and by the tests
        traced = torch.jit.trace(_Flat(module, inputs).eval(), examples, check_trace=False, strict=False)
        model = ov.convert_model(traced, example_input=examples)
    if len(model.inputs) != len(examples):
        raise ValueError("the converted denoiser does not read all of its inputs")
    for port, name, tensor in zip(model.inputs, inputs.widths, examples, strict=True):
        shape = [-1] * tensor.ndim
        if name in ("sample", "hidden_states") and tensor.ndim > 3:
            shape[1] = tensor.shape[1]
        port.get_node().set_partial_shape(ov.PartialShape(shape))
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    waves = _split(model)
    ov.save_model(waves, folder / WAVES, compress_to_fp16=False)
    ov.save_model(model, folder / MAIN, compress_to_fp16=True)


def _split(model: ov.Model) -> ov.Model:
    """Take the sines and cosines out of the model, which then reads them; returns a model that makes them.

    Both keep all inputs, whether they use them or not.
    """
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in ("Sin", "Cos")]
    names = {node.get_friendly_name() for node in nodes}
    waves = model.clone()
    made = [node.output(0) for node in waves.get_ordered_ops() if node.get_friendly_name() in names]
    for index, output in enumerate(made):
        output.get_tensor().set_names({f"wave_{index}"})
    waves = ov.Model(made, waves.get_parameters(), "waves")
    for index, node in enumerate(nodes):
        read = ops.parameter(node.get_output_partial_shape(0), node.get_output_element_type(0))
        read.get_output_tensor(0).set_names({f"wave_{index}"})
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(read.output(0))
        model.add_parameters([read])
    model.validate_nodes_and_infer_types()
    return waves


class Runner:
    """A converted denoiser, compiled for this machine's CPU."""

    def __init__(self, folder: Path, *, precision: str, threads: int = 0) -> None:
        """Compile what `convert` wrote; raises what OpenVINO raises. `threads` 0 = one per core."""
        core = ov.Core()
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads} if threads else {}
        exactly = properties | {"INFERENCE_PRECISION_HINT": "f32"}
        main = core.compile_model(folder / MAIN, "CPU", properties | {"INFERENCE_PRECISION_HINT": precision})
        waves = core.compile_model(folder / WAVES, "CPU", exactly)
        self._main, self._waves = main.create_infer_request(), waves.create_infer_request()
        self._reads = {port.get_any_name() for port in main.inputs}
        self._wave_names = [port.get_any_name() for port in waves.outputs]
        self._wave_reads = {port.get_any_name() for port in waves.inputs}

    def __call__(self, given: Mapping[str, Array]) -> Array:
        """One step. The result lies in memory that the next step overwrites."""
        self._waves.infer(_only(given, self._wave_reads), share_inputs=True, share_outputs=True)
        waves = {name: self._waves.get_tensor(name).data for name in self._wave_names}
        self._main.infer(_only({**given, **waves}, self._reads), share_inputs=True, share_outputs=True)
        made: Array = self._main.get_output_tensor(0).data
        return made


def best_precision() -> str:
    """bf16 where the CPU computes with it, else f32."""
    capabilities: Sequence[str] = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"


def _only(given: Mapping[str, Array], names: set[str]) -> dict[str, Array]:
    return {name: value for name, value in given.items() if name in names}
