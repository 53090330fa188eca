"""Conversion: what comes out of it, in which process it happens, and what it refuses before it begins."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from quintet.core.errors import LoadFailed, Unsupported
from quintet.engines.text.executor import Chunk, Executor
from quintet.engines.text.memory import CacheWish
from quintet.weights import convert as converting
from quintet.weights import gate
from quintet.weights.conversion import Unconvertible, convert_directory
from quintet.weights.convert import convert, loaded_bytes
from tests.conftest import TinyModel


@pytest.fixture
def source(tiny: TinyModel) -> Path:
    """The tiny Llama as safetensors."""
    return tiny.directory.parent / "pt"


def convert_here(source: Path, target: Path, task: str, precision: str) -> list[str]:
    """Convert in this process, which has torch already; returns the stages."""
    stages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert_directory(source, target, task, precision, stages.append)
    return stages


def weight_types(directory: Path) -> set[str]:
    text = (directory / "openvino_model.xml").read_text()
    return set(re.findall(r'element_type="([a-z]+\d+)" shape="\d+, [^"]*" offset', text))


def logits_of(directory: Path, ids: list[int]) -> Any:
    properties = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    executor = Executor(directory, cache=CacheWish(context_length=64, megabytes=0), properties=properties)
    logits = executor.run([Chunk(ids, 0, array("i", [0, 1]), range(len(ids)))]).copy()
    executor.close()
    return logits


def similar(got: Any, expected: Any) -> float:
    """Cosine of the logits, the median of all positions: wide random weights make single ones chaotic."""
    cosines = (got * expected).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(expected, axis=-1)
    return float(np.median(cosines))


@pytest.mark.parametrize(
    ("precision", "kind", "similarity", "stages"),
    [
        ("int8", "u8", 0.995, ["load", "export", "compress", "save"]),
        ("int4", "u4", 0.75, ["load", "export", "compress", "save"]),
        ("fp16", "f16", 0.9999, ["load", "export"]),
    ],
)
def test_precisions(
    tiny: TinyModel,
    source: Path,
    tmp_path: Path,
    precision: str,
    kind: str,
    similarity: float,
    stages: list[str],
) -> None:
    target = tmp_path / "out"
    assert convert_here(source, target, "text", precision) == stages
    assert kind in weight_types(target)
    gate.inspect(target)
    assert not list(target.glob("compressed*"))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
    ids = [3 + (7 * position) % 240 for position in range(40)]
    with torch.inference_mode():
        expected = tiny.reference(torch.tensor([ids])).logits[0].numpy()
    assert similar(logits_of(target, ids), expected) > similarity


def test_a_checkpoint_in_16_bits(source: Path, tmp_path: Path, tiny: TinyModel) -> None:
    """Most models come in bfloat16; they are traced without being widened first."""
    narrow = tmp_path / "narrow"
    shutil.copytree(source, narrow)
    model = type(tiny.reference).from_pretrained(source, dtype=torch.bfloat16)
    model.save_pretrained(narrow)
    convert_here(narrow, tmp_path / "out", "text", "int8")
    assert weight_types(tmp_path / "out") >= {"u8"}
    ids = list(range(3, 35))
    with torch.inference_mode():
        expected = model.float()(torch.tensor([ids])).logits[0].numpy()
    assert similar(logits_of(tmp_path / "out", ids), expected) > 0.995


def test_a_sentence_encoder(source: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = BertModel(config).eval()
    encoder = tmp_path / "encoder"
    model.save_pretrained(encoder)
    shutil.copyfile(source / "tokenizer.json", encoder / "tokenizer.json")
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (encoder / "onnx").mkdir()
    (encoder / "onnx" / "config.json").write_text("{}")
    target = tmp_path / "out"
    convert_here(encoder, target, "embedding", "fp32")
    assert (target / "1_Pooling" / "config.json").is_file()
    assert not (target / "onnx").exists()
    compiled = ov.Core().compile_model(
        target / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": (ids * 0).numpy()}
    with torch.inference_mode():
        expected = model(ids, attention_mask=mask).last_hidden_state.numpy()
    assert np.allclose(compiled(given)["last_hidden_state"][mask == 1], expected[mask == 1], atol=1e-4)


def test_in_a_child_process(source: Path, tmp_path: Path) -> None:
    said: list[tuple[str, float, float]] = []
    target = tmp_path / "staging" / "model"
    convert(source, target, task="text", precision="int8", report=lambda *line: said.append(line))
    assert said == [("load", 0, 4), ("export", 1, 4), ("compress", 2, 4), ("save", 3, 4)]
    assert weight_types(target) >= {"u8"}
    assert list(target.parent.iterdir()) == [target], "nothing is left of the work in between"


def test_an_unknown_architecture(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    described = json.loads((other / "config.json").read_text()) | {"model_type": "perceptron"}
    (other / "config.json").write_text(json.dumps(described))
    with pytest.raises(
        Unsupported, match=r"architecture `perceptron` can't be converted for text-generation"
    ):
        convert(other, tmp_path / "out", task="text", precision="int8", report=lambda *_: None)
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(Unconvertible, match="perceptron"):
        convert_here(other, tmp_path / "out", "text", "int8")


def test_weights_that_do_not_fit_their_config(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    described = json.loads((other / "config.json").read_text()) | {"hidden_size": 96}
    (other / "config.json").write_text(json.dumps(described))
    with pytest.raises(LoadFailed, match=r"Converting the model failed \(\w+Error\)"):
        convert(other, tmp_path / "out", task="text", precision="int8", report=lambda *_: None)
    assert "Traceback" in capfd.readouterr().err, "the log says what the tools said"
    assert not (tmp_path / "out").exists()


def refuse(source: Path, **changes: Any) -> str:
    def never(*_: object) -> None:
        raise AssertionError("it must be refused before a child process is started")

    asked = {"task": "text", "precision": "int8"} | changes
    with pytest.raises((LoadFailed, Unsupported)) as refusal:
        convert(source, source.parent / "out", report=never, **asked)
    assert not (source.parent / "out").exists()
    return refusal.value.message


def test_refused_beforehand(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    assert "no readable config.json" in refuse(bare)
    (bare / "config.json").write_text('{"model_type": "llama"}')
    assert "no .safetensors files" in refuse(bare)
    shutil.copyfile(source / "model.safetensors", bare / "model.safetensors")
    (bare / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    assert "quantised already (gptq)" in refuse(bare)
    assert "int8, int4, fp16" in refuse(bare, precision="int3")
    monkeypatch.setattr(converting, "PACKAGES", ("torch", "no-such-package"))
    assert "needs no-such-package, which is not installed" in (message := refuse(bare))
    assert "make convert" in message


def test_too_little_memory(tmp_path: Path) -> None:
    """A file of two terabytes that takes no room: only its header is real."""
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_text('{"model_type": "llama"}')
    size = 1 << 41
    header = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    with (large / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    message = refuse(large)
    assert re.search(r"needs about 571\d\.\d GB of memory, and \d+\.\d GB are free", message)
    assert loaded_bytes(large, "fp32") == 2 * loaded_bytes(large, "int8") == 2 * size


def test_the_child_dies_with_its_parent(source: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from quintet.weights.convert import convert;"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), task='text', precision='int8',"
        "        report=lambda *line: print(line[0], flush=True))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(source), str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        assert parent.stdout.readline() == "load\n"
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _runs(int(children[0])):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.05)
    assert not (tmp_path / "out").exists()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
