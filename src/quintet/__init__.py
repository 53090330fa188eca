"""Quintet: one self-hosted server for generative models, in the API dialects that clients already speak."""

import sys

__version__ = "0.1.0"

# OpenVINO and its tools tell their makers over the network about every import and every step of a conversion, where
# this package is installed beside them and nobody has objected. Without it they do the same work in silence.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
