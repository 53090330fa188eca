"""Vision-language models: which can be pulled, what they must bring, and what conversion makes of them."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from quintet.cli.main import app
from quintet.core.errors import Unsupported
from quintet.core.models import Model
from quintet.engines.text.vision import FAMILIES
from quintet.weights import gate
from quintet.weights.conversion import Unconvertible, convert_directory
from quintet.weights.library import Library, verify
from quintet.weights.order import Order
from quintet.weights.pull import Pull
from quintet.weights.vision import PARTS, why_not
from tests.conftest import TinyModel, TinyVisionModel
from tests.support.hub import LocalHub
from tests.weights.gate_files import constant, layer, network

NAME = "owner/sees"
WANTED = {"config.json", "preprocessor_config.json", "tokenizer.json"}
TOWER = {
    "vision_config": {"model_type": "clip_vision_model"},
    "text_config": {"max_position_embeddings": 4096},
}
NEXT: dict[str, Any] = {"model_type": "llava_next", "image_newline": [0.5, -1], **TOWER}


def described(kind: str, **more: Any) -> dict[str, Any]:
    return {"architectures": ["SeesForConditionalGeneration"], "model_type": kind, **TOWER} | more


def parts(kind: str) -> set[str]:
    return {part + ending for part in PARTS[kind] for ending in (".xml", ".bin")}


def test_what_can_be_pulled_is_what_the_engine_has_families_for() -> None:
    assert PARTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("kind", PARTS)
def test_complete_models(kind: str) -> None:
    config = described(kind, image_newline=[0.5, -1])
    assert why_not(config, WANTED, "safetensors") == ""
    assert why_not(config, WANTED | parts(kind), "openvino") == ""
    for part in parts(kind):
        assert why_not(config, (WANTED | parts(kind)) - {part}, "openvino").startswith(f"{part} is missing")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (described("idefics2"), "the architecture idefics2, and .* Qwen2.5-VL only"),
        (described("<b>", architectures=[]), "an unknown architecture"),
        (None, "an unknown architecture"),
        ([], "an unknown architecture"),
        (described("llava", vision_config={"model_type": "pixtral"}), "vision encoder is none"),
        (described("llava", vision_config=[]), "vision encoder is none"),
        (described("llava", vision_config={"model_type": []}), "vision encoder is none"),
        *(
            (NEXT | {"image_grid_pinpoints": points}, "image_grid_pinpoints")
            for points in (
                *([], {}, "336", [336, 672], [[336]], [[336, 672, 3]], [[336, 0]], [[-336, 672]]),
                *([[336, 6.5]], [[True, 336]], [[1 << 40, 336]], [[336, 336]] * 257),
            )
        ),
        *(
            (NEXT | {"image_newline": newline}, "no image_newline")
            for newline in (None, [], 3, ["1"], [True], [0.5] * 65_537)
        ),
    ],
)
def test_configurations_that_are_refused(config: Any, says: str) -> None:
    assert re.search(says, why_not(config, WANTED | parts("llava_next"), "openvino"))


def test_pictures_need_a_processor() -> None:
    assert "preprocessor_config.json" in why_not(described("llava"), {"config.json"}, "safetensors")
    assert why_not(described("llava"), {"processor_config.json"}, "safetensors") == ""


def repository(kind: str) -> dict[str, bytes]:
    """A repository with the model as IR, with the networks of its tokenizer, and as safetensors once more."""
    files = {"config.json": json.dumps(described(kind)).encode(), "tokenizer.json": b'{"model": {}}'}
    files |= {"preprocessor_config.json": b"{}", "chat_template.json": b'{"chat_template": "x"}'}
    files |= {"model.safetensors": b"x" * 1000, "pytorch_model.bin": b"x", "onnx/model.onnx": b"x"}
    for name in parts(kind):
        files[name] = network(layer(), constant()) if name.endswith(".xml") else bytes(16)
    files["openvino_tokenizer.xml"] = network(layer("SentencepieceTokenizer", "extension"))
    return files | {"openvino_tokenizer.bin": b""}


def test_an_ir_of_several_networks_is_pulled_whole(hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.add(NAME, repository("qwen2_5_vl"))
    installed = Pull(Library(tmp_path), Order(name=NAME, repo=NAME), lambda _: None).run().installed
    manifest = installed.manifest
    assert (manifest.task, manifest.engine, manifest.format) == ("vision", "text", "openvino")
    assert (manifest.context_length, manifest.converted_from) == (4096, "")
    names = {file.name for file in manifest.files}
    assert names == repo.files.keys() - {"model.safetensors", "pytorch_model.bin", "onnx/model.onnx"}
    assert verify(installed) == []


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"config.json": json.dumps(described("idefics2")).encode()}, "no_engine", "idefics2"),
        ({"preprocessor_config.json": None}, "wrong_format", "preprocessor_config.json"),
        ({"openvino_text_embeddings_model.bin": None}, "wrong_format", "embeddings_model.bin is missing"),
    ],
)
def test_refused_before_the_weights_are_brought(
    hub: LocalHub, tmp_path: Path, changes: dict[str, bytes | None], code: str, says: str
) -> None:
    files = repository("llava") | changes
    repo = hub.add(NAME, {name: content for name, content in files.items() if content is not None})
    library = Library(tmp_path)
    with pytest.raises(Unsupported, match=says) as caught:
        Pull(library, Order(name=NAME, repo=NAME), lambda _: None).run()
    assert caught.value.code == code
    assert repo.sent.keys() == {"config.json"}
    assert library.installed() == []


def test_what_the_catalog_knows_but_nothing_runs_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    model = Model(name="qwen", task="vision", engine="text", architecture="qwen3_vl")
    order = Order(name="qwen", repo="owner/qwen", model=model)
    with pytest.raises(Unsupported, match=r"qwen3_vl, and .* Nothing was downloaded\.") as caught:
        Pull(Library(tmp_path), order, lambda _: None).run()
    assert caught.value.code == "no_engine"


def convert_here(source: Path, target: Path, task: str = "vision") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert_directory(source, target, task, "fp32", lambda _: None)


def rename_tensors(source: Path, target: Path, rename: Callable[[str], str]) -> None:
    shutil.copytree(source, target)
    tensors = {rename(name): tensor for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def test_tensors_that_would_be_made_up_are_refused(
    tiny_vision: Callable[[str], TinyVisionModel], tiny: TinyModel, tmp_path: Path
) -> None:
    """transformers fills what it does not find with random numbers, and says so in its log alone."""
    source = tiny_vision("llava").source
    newer = tmp_path / "newer"
    rename_tensors(source, newer, lambda name: name.replace("vision_tower.vision_model.", "vision_tower."))
    with pytest.raises(Unconvertible, match=r"55 of its tensors .*vision_tower\.vision_model\."):
        convert_here(newer, tmp_path / "out")
    longer = tmp_path / "longer"
    rename_tensors(tiny.directory.parent / "pt", longer, lambda name: name)
    config = json.loads((longer / "config.json").read_text()) | {"num_hidden_layers": 1}
    (longer / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unconvertible, match=r"layers that its config\.json does not describe"):
        convert_here(longer, tmp_path / "out", "text")
    assert not (tmp_path / "out").exists()


def test_refused_before_the_weights_are_read(tmp_path: Path) -> None:
    for name, config in (("old", described("idefics2")), ("next", NEXT | {"image_grid_pinpoints": [[0]]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        with pytest.raises(Unconvertible, match=r"idefics2|image_grid_pinpoints"):
            convert_here(tmp_path / name, tmp_path / "out")


def test_a_folder_of_safetensors_becomes_an_installed_model(
    tiny_vision: Callable[[str], TinyVisionModel], tmp_path: Path
) -> None:
    made = tiny_vision("llava_next")
    library = Library(tmp_path)
    order = Order(name="sees", directory=str(made.source), precision="int8")
    installed = Pull(library, order, lambda _: None).run().installed
    manifest, folder = installed.manifest, installed.folder
    assert (manifest.task, manifest.engine, manifest.precision) == ("vision", "text", "int8")
    assert (manifest.format, manifest.converted_from) == ("openvino", "safetensors")
    assert manifest.context_length == 1024
    assert verify(installed) == []
    found = gate.inspect(folder)
    assert (found.model_type, found.main_dtype) == ("llava_next", "u8")
    names = {file.name for file in manifest.files}
    assert why_not(json.loads((folder / "config.json").read_text()), names, "openvino") == ""
    assert not {name for name in names if name.endswith(".safetensors")}
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (made.source / name).read_bytes()
    check_parts(folder, made.reference)
    shown = CliRunner().invoke(app, ["models", "show", "sees", "--home", str(tmp_path)]).output
    assert re.search(r"task: +vision\n", shown)
    assert re.search(r"pictures: +up to 1,024 pixels a side\n", shown)
    assert "converted from safetensors" in shown


def check_parts(folder: Path, reference: Any) -> None:
    """The vector at the end of a line, and what is beside the language model: 8 bits each, nearly as it was."""
    newline = json.loads((folder / "config.json").read_text())["image_newline"]
    assert np.array_equal(np.float32(newline), reference.model.image_newline.detach().numpy())
    ids = torch.tensor([[5, 6, 7]])
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tiles = reference.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        expected = {
            "vision": reference.model.multi_modal_projector(tiles).numpy(),
            "text": reference.get_input_embeddings()(ids).numpy(),
        }
    for part, given in (("vision", pixels), ("text", ids)):
        path = folder / f"openvino_{part}_embeddings_model.xml"
        assert 'element_type="i8"' in path.read_text()
        got = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([given.numpy()])[0]
        cosine = (got * expected[part]).sum() / np.linalg.norm(got) / np.linalg.norm(expected[part])
        assert cosine > 0.995


def test_what_is_said_of_a_model_that_nothing_runs(tmp_path: Path) -> None:
    runner = CliRunner()
    for name, says in (("idefics", "quintet pull idefics3-8b-llama3"), ("idefics2", "can't run it")):
        shown = runner.invoke(app, ["models", "show", name, "--home", str(tmp_path)]).output
        assert re.search(rf"installed: +no; .*{says}", shown)
