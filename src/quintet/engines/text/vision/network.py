"""One compiled OpenVINO model beside the language model: named arrays in, its first output out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from quintet.engines.text.memory import check_weights


class Network:
    """A model that is called on its own, such as a vision encoder."""

    def __init__(self, path: Path, *, device: str = "CPU", properties: dict[str, Any] | None = None) -> None:
        """Compile the IR at `path`; raises LoadFailed. `properties` go to OpenVINO."""
        check_weights(path)
        self._compiled = ov.Core().compile_model(path, device, properties or {})
        self._request = self._compiled.create_infer_request()
        self.inputs = frozenset(port.get_any_name() for port in self._compiled.inputs)
        """Names of what it takes."""

    def __call__(self, **inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Run it once; the answer is the caller's own copy."""
        self._request.infer(inputs)
        output: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data
        return output.astype(np.float32, copy=True)
