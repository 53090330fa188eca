"""Model files made by hand, right ones and, with other arguments, wrong ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from quintet.weights.gate import inspect
from quintet.weights.refusal import GateRefused

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 512}


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header, as a value or as text, and this data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = safetensors({"__metadata__": {"format": "pt"}, "w": tensor("BF16", [2, 3], 0, 12)}, bytes(12))


def network(
    *layers: str, after: str = "", version: str = "11", before: str = '<?xml version="1.0"?>'
) -> bytes:
    return f'{before}<net name="m" version="{version}"><layers>{"".join(layers)}</layers><edges/>{after}</net>'.encode()


def layer(kind: str = "Parameter", opset: str = "opset1", inside: str = "") -> str:
    return f'<layer id="0" name="n" type="{kind}" version="{opset}">{inside}</layer>'


def constant(dtype: str = "f32", shape: str = "2,2", offset: Any = 0, size: Any = 16) -> str:
    return layer(
        "Const", "opset1", f'<data element_type="{dtype}" shape="{shape}" offset="{offset}" size="{size}"/>'
    )


def ct2_text(text: bytes) -> bytes:
    return struct.pack("<H", len(text) + 1) + text + b"\0"


def ct2(*variables: bytes, version: int = 6, count: int | None = None, tail: bytes = b"\0\0\0\0") -> bytes:
    start = struct.pack("<I", version) + ct2_text(b"WhisperSpec") + struct.pack("<I", 3)
    return start + struct.pack("<I", len(variables) if count is None else count) + b"".join(variables) + tail


def ct2_variable(shape: list[int], dtype: int, size: int, data: bytes) -> bytes:
    head = ct2_text(b"encoder/w") + struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
    return head + struct.pack("<BI", dtype, size) + data


def put(directory: Path, **files: Any) -> Path:
    """Write files (`__` in a name is a dot, `___` a slash); values that are no bytes become JSON."""
    return put_all(
        directory, {name.replace("___", "/").replace("__", "."): value for name, value in files.items()}
    )


def put_all(directory: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return directory


def refusal(directory: Path, **asked: Any) -> GateRefused:
    """How the gate refuses this directory."""
    with pytest.raises(GateRefused) as caught:
        inspect(directory, **asked)
    return caught.value
