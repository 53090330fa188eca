"""Headers of safetensors files, right and wrong (reliability U-17)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from quintet.weights.refusal import GateRefused
from quintet.weights.safetensors import BITS, Header, read_header
from tests.weights.gate_files import safetensors, tensor


def read(folder: Path, content: bytes) -> Header:
    path = folder / "a.safetensors"
    path.write_bytes(content)
    with path.open("rb") as stream:
        return read_header("a.safetensors", stream)


WRONG: list[tuple[bytes, str]] = [
    (b"", "too short"),
    (b"\1\2\3", "too short"),
    (safetensors({}, length=100_000_001), "longer than 100,000,000"),
    (safetensors({}, length=2**64 - 1), "longer than"),
    (safetensors({}, length=3), "ends after 10"),
    (safetensors(b"[]"), "not a JSON object"),
    (safetensors(b" {}"), "not a JSON object"),
    (safetensors(b""), "not a JSON object"),
    (safetensors(b"{"), "not valid JSON"),
    (safetensors(b'{"\xff":1}'), "not valid JSON"),
    (safetensors(b'{"a":NaN}'), "NaN"),
    (safetensors(b'{"a":-Infinity}'), "NaN"),
    (safetensors(b'{"a":1e999}'), "too large"),
    (safetensors(b'{"a":' + b"9" * 5000 + b"}"), "too many digits"),
    (safetensors(b'{"a":' + b"[" * 100000), "nested deeper"),
    (safetensors(b'{"a":{"b":[[[1]]]}}'), "nested deeper"),
    (safetensors(b'{"a":1,"a":1}'), "same key twice"),
    (
        safetensors(b'{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"\0"),
        "same key twice",
    ),
    (safetensors({"__metadata__": {"a": 1}}), "metadata"),
    (safetensors({"__metadata__": "a"}), "metadata"),
    (safetensors({"a": 1}), "other keys"),
    (safetensors({"a": {"dtype": "U8", "shape": []}}), "other keys"),
    (safetensors({"a": {**tensor("U8", [], 0, 1), "more": 1}}, b"\0"), "other keys"),
    (safetensors({"a": tensor("U7", [1], 0, 1)}, b"\0"), "type"),
    (safetensors({"a": {**tensor("U8", [], 0, 1), "dtype": ["U8"]}}, b"\0"), "type"),
    (safetensors({"a": tensor("U8", [-1], 0, 1)}, b"\0"), "shape"),
    (safetensors({"a": tensor("U8", [True], 0, 1)}, b"\0"), "shape"),
    (safetensors({"a": {**tensor("U8", [], 0, 1), "shape": [1.0]}}, b"\0"), "shape"),
    (safetensors({"a": tensor("U8", [1] * 17, 0, 1)}, b"\0"), "shape"),
    (safetensors({"a": {**tensor("U8", [], 0, 1), "shape": "1"}}, b"\0"), "shape"),
    (safetensors({"a": tensor("U8", [2**32, 2**32], 0, 0)}), "more elements"),
    (safetensors({"a": tensor("U8", [2**32, 2**32, 0], 0, 0)}), "more elements"),
    (safetensors({"a": {**tensor("U8", [], 0, 1), "data_offsets": [0]}}, b"\0"), "data_offsets"),
    (safetensors({"a": tensor("U8", [1], -1, 0)}, b"\0"), "data_offsets"),
    (safetensors({"a": tensor("U8", [1], 1, 0)}, b"\0"), "do not fit"),
    (safetensors({"a": tensor("F32", [1], 0, 3)}, bytes(3)), "do not fit"),
    (safetensors({"a": tensor("F4", [3], 0, 2)}, bytes(2)), "do not fit"),
    (safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, bytes(6)), "overlap"),
    (safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 0, 4)}, bytes(4)), "overlap"),
    (safetensors({"a": tensor("U8", [4], 1, 5)}, bytes(5)), "hole"),
    (safetensors({"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, bytes(3)), "hole"),
    (safetensors({"a": tensor("U8", [4], 0, 4)}, bytes(3)), "ends at byte 4"),
    (safetensors({"a": tensor("U8", [4], 0, 4)}, bytes(5)), "there are 5"),
    (safetensors({"a": tensor("U8", [2**40], 0, 2**40)}, bytes(5)), "ends at byte"),
]


@pytest.mark.parametrize(("content", "rule"), WRONG)
def test_a_wrong_header_is_refused(tmp_path: Path, content: bytes, rule: str):
    with pytest.raises(GateRefused, match=rule) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith("a.safetensors: ")


@pytest.mark.parametrize("dtype", BITS)
def test_every_type_is_measured(tmp_path: Path, dtype: str):
    size = 8 * BITS[dtype] // 8
    found = read(tmp_path, safetensors({"w": tensor(dtype, [2, 4], 0, size)}, bytes(size)))
    assert found.bytes_by_dtype == {dtype.lower(): size}
    assert found.names == {"w"}


def test_empty_tensors_and_padding_are_fine(tmp_path: Path):
    header = b'{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},'
    header += b'"b":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'
    assert read(tmp_path, safetensors(header + b"   ", b"\0")).names == {"a", "b"}


def test_what_the_library_writes_is_read(tmp_path: Path):
    arrays = {
        "x": np.zeros((3, 5), np.float16),
        "y": np.zeros(2, np.float32),
        "z": np.zeros((0, 3), np.int64),
    }
    data = save(arrays, {"format": "np"})
    assert read(tmp_path, data).bytes_by_dtype == {"f16": 30, "f32": 8, "i64": 0}


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_no_bytes_break_it_otherwise(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    _only_refuses(tmp_path_factory, struct.pack("<Q", len(content)) + content)
    _only_refuses(tmp_path_factory, content)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["U8", "F32"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), _JUNK))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_no_header_breaks_it_otherwise(tmp_path_factory: pytest.TempPathFactory, header: Any):
    _only_refuses(tmp_path_factory, safetensors(header, bytes(4)))


def _only_refuses(factory: pytest.TempPathFactory, content: bytes) -> None:
    try:
        found = read(factory.getbasetemp(), content)
    except GateRefused:
        return
    assert sum(found.bytes_by_dtype.values()) <= len(content)
