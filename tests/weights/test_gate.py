"""The door: what passes, what is refused by name or content, and what is said about it."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 (the enemy)
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from quintet.weights.gate import Inspection, inspect
from quintet.weights.refusal import GateRefused
from tests.weights.gate_files import (
    CONFIG,
    GOOD,
    constant,
    ct2,
    ct2_variable,
    layer,
    network,
    put,
    put_all,
    refusal,
    safetensors,
    tensor,
)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A model in safetensors that passes."""
    return put_all(tmp_path / "model", {"config.json": CONFIG, "model.safetensors": GOOD})


def test_a_model_in_safetensors_passes_with_its_facts(good: Path):
    found = inspect(good)
    assert (found.format, found.tensor_bytes, found.bytes_by_dtype) == ("safetensors", 12, {"bf16": 12})
    assert (found.architecture, found.model_type, found.context_length) == ("LlamaForCausalLM", "llama", 512)
    assert found.files == ("config.json", "model.safetensors")
    assert found.total_bytes == sum(path.stat().st_size for path in good.iterdir())
    assert found.main_dtype == "bf16"


def test_a_real_converted_model_passes(tiny):
    found = inspect(tiny.directory)
    weights = (tiny.directory / "openvino_model.bin").stat().st_size
    assert found.format == "openvino"
    assert weights <= found.tensor_bytes
    assert found.architecture == "LlamaForCausalLM"
    assert found.context_length == 65_536


def test_a_real_saved_model_passes(tiny):
    directory = tiny.directory.parent / "pt"
    found = inspect(directory)
    parameters = sum(parameter.numel() for parameter in set(tiny.reference.parameters()))
    assert found.format == "safetensors"
    assert found.tensor_bytes == 4 * parameters


def test_a_truncated_network_is_refused(tiny, tmp_path: Path):
    copied = shutil.copytree(tiny.directory, tmp_path / "ir")
    os.truncate(copied / "openvino_model.bin", 1000)
    assert "its .bin has 1,000 bytes" in str(refusal(copied))


def test_the_starter_model_passes():
    import quintet

    found = inspect(Path(quintet.__file__).parent / "starter_models" / "chat")
    assert found.format == "openvino"
    assert found.main_dtype == "u8"


def test_a_network_beside_what_it_came_from_counts_once(good: Path):
    put_all(good, {"openvino_model.xml": network(constant()), "openvino_model.bin": bytes(16)})
    found = inspect(good)
    assert (found.format, found.tensor_bytes) == ("openvino", 16)


def test_a_diffusers_pipeline_passes(tmp_path: Path):
    put_all(
        tmp_path,
        {
            "model_index.json": {
                "_class_name": "StableDiffusionPipeline",
                "scheduler": ["diffusers", "DDIMScheduler"],
            },
            "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler"},
            "unet/config.json": {"_class_name": "UNet2DConditionModel"},
            "unet/diffusion_pytorch_model.safetensors": GOOD,
        },
    )
    found = inspect(tmp_path)
    assert (found.format, found.architecture) == ("diffusers", "StableDiffusionPipeline")


def test_a_ctranslate2_model_passes(tmp_path: Path):
    weights = ct2(ct2_variable([2, 2], 4, 8, bytes(8)), ct2_variable([], 0, 4, bytes(4)))
    put_all(tmp_path, {"config.json": {}, "model.bin": weights, "vocabulary.txt": b"a\nb\n"})
    found = inspect(tmp_path)
    assert (found.format, found.bytes_by_dtype) == ("ctranslate2", {"f16": 8, "f32": 4})


@pytest.mark.parametrize(
    "wrong",
    [
        ct2(version=7),
        ct2(version=3),
        ct2(count=1, tail=b""),
        ct2(count=2**32 - 1),
        ct2(ct2_variable([2, 2], 0, 8, bytes(8))),
        ct2(ct2_variable([2**31, 2**31, 4], 0, 0, b"")),
        ct2(ct2_variable([2], 6, 8, bytes(8))),
        ct2(ct2_variable([2**30], 1, 2**30, b"")),
        ct2(ct2_variable([1] * 9, 1, 1, b"\0")),
        ct2(tail=b"\0\0\0\0more"),
        ct2(tail=b"\1\0\0\0\0\0"),
        b"\6\0",
    ],
)
def test_a_wrong_ctranslate2_file_is_refused(tmp_path: Path, wrong: bytes):
    put_all(tmp_path, {"config.json": {}, "model.bin": wrong})
    assert refusal(tmp_path).file == "model.bin"


def test_what_has_no_weights_is_refused(tmp_path: Path):
    put_all(tmp_path, {"config.json": CONFIG})
    assert "no weights" in str(refusal(tmp_path))


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path):
    assert "can't be opened (No such file or directory)" in str(refusal(tmp_path / "absent"))


# ------------------------------------------------------------------------------------------------ names


REFUSED_NAMES = [
    "pytorch_model.bin", "weights.pt", "a.pth", "a.ckpt", "a.pkl", "a.h5", "a.joblib", "a.npy", "a.nemo",
    "a.mar", "modeling_x.py", "lib.so", "run.sh", "a.exe", "a.gguf", "a.zip", "a.tar.gz", "picture.png",
    "model.xml", "folder/pytorch_model.bin", ".hidden", ".env", "a.PY", "README.exe", "x.safetensors.pt",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_name_that_no_model_needs_is_refused(good: Path, name: str):
    put_all(good, {name: b"harmless"})
    error = refusal(good)
    assert error.file == name
    assert str(error) == f"{name}: {error.rule} {error.next_step}"
    assert error.next_step.endswith(".")


TEXT_NAMES = [
    "README.md", "LICENSE", "LICENSE.txt", "NOTICE", "USE_POLICY.md", "merges.txt", "vocab.txt",
    "chat_template.jinja", ".gitattributes", "additional_chat_templates/tool_use.jinja",
    ".cache/huggingface/download/model.safetensors.metadata", ".cache/huggingface/CACHEDIR.TAG",
    "tokenizer.model",
]  # fmt: skip


@pytest.mark.parametrize("name", TEXT_NAMES)
def test_text_beside_the_weights_passes(good: Path, name: str):
    put_all(good, {name: b"words\n"})
    assert name in inspect(good).files


def test_the_message_shows_no_control_characters(good: Path):
    put_all(good, {"\x1b[31mred\n.py": b""})
    error = refusal(good)
    assert error.file == "?[31mred?.py"
    assert str(error).isprintable()


def test_names_that_differ_only_in_case_are_refused(good: Path):
    put_all(good, {"Config.json": CONFIG})
    assert "differs only in case" in str(refusal(good))


def test_too_many_files_are_refused(good: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quintet.weights.tree.MAX_FILES", 10)
    put_all(good, {f"{number}.txt": b"" for number in range(9)})
    assert "more than 10 files" in str(refusal(good))
    for name in [*good.glob("*.txt"), *(good / f"folder{number}" for number in range(11))]:
        name.unlink() if name.is_file() else name.mkdir()
    assert "more than 10 folders" in str(refusal(good))


def test_deep_folders_are_refused(good: Path):
    put_all(good, {"/".join("abcdefgh") + "/a.txt": b""})
    assert "nested deeper" in str(refusal(good))


# ------------------------------------------------------------------------------------------------ content


def _zip() -> bytes:
    import io

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 300)
    return target.getvalue()


FOREIGN = {
    "zip": _zip(),
    "pickle2": pickle.dumps({"a": [1]}, protocol=2),
    "pickle4": pickle.dumps({"a": [1]}, protocol=4),
    "torch": b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
    "elf": b"\x7fELF" + bytes(100),
    "gguf": b"GGUF" + bytes(100),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "numpy": b"\x93NUMPY" + bytes(100),
    "tar": bytes(257) + b"ustar" + bytes(300),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize(
    "name",
    ["b.safetensors", "openvino_b.bin", "model.bin", "b.json", "b.txt", "tokenizer.model", "openvino_b.xml"],
)
def test_foreign_content_under_an_innocent_name_is_refused(good: Path, name: str, content: bytes):
    put_all(good, {"openvino_b.bin": bytes(600), "openvino_b.xml": network(constant())})
    put_all(good, {name: content})
    assert refusal(good).file == name


def test_weights_that_begin_like_a_pickle_by_chance_pass(tmp_path: Path):
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    weights = safetensors(header.ljust(0x0280), b"\0")
    assert weights.startswith(b"\x80\x02")
    put_all(tmp_path, {"a.safetensors": weights})
    assert inspect(tmp_path).tensor_bytes == 1


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"a\0b"), ("a.md", b"\xff\xfe"), ("a.txt", b"#!/bin/sh\n")]
)
def test_text_that_is_none_is_refused(good: Path, name: str, content: bytes):
    put_all(good, {name: content})
    assert refusal(good).file == name


def test_a_file_that_is_too_large_is_refused_unread(good: Path):
    with (good / "big.json").open("wb") as file:
        file.truncate(11 * 1024**2)
    assert "10,485,760 are allowed" in str(refusal(good))


# ------------------------------------------------------------------------------------------------ not files


def test_a_link_out_of_the_directory_is_refused(good: Path, tmp_path: Path):
    put_all(tmp_path, {"secret.json": {}})
    for target in (tmp_path / "secret.json", "../secret.json", "/etc/hostname"):
        (good / "link.json").symlink_to(target)
        assert "leaves the model's directory" in str(refusal(good))
        (good / "link.json").unlink()


def test_a_link_that_stays_inside_passes(good: Path):
    put_all(good, {"blobs/real.json": {}})
    (good / "generation_config.json").symlink_to("blobs/real.json")
    assert "generation_config.json" in inspect(good).files


@pytest.mark.parametrize("target", ["gone.json", "link.json", "folder", "other.json"])
def test_a_link_to_no_plain_file_is_refused(good: Path, target: str):
    (good / "folder").mkdir()
    (good / "other.json").symlink_to("config.json")
    (good / "link.json").symlink_to(target)
    assert refusal(good).file == "link.json"


def test_a_linked_folder_is_refused(good: Path, tmp_path: Path):
    put_all(tmp_path / "outside", {"config.json": {}})
    (good / "unet").symlink_to(tmp_path / "outside")
    assert refusal(good).file == "unet"


def test_pipes_and_sockets_are_refused_without_waiting(good: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(good / "a.json")
    assert "device, pipe or socket" in str(refusal(good))
    (good / "a.json").unlink()
    monkeypatch.chdir(good)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.json")
        assert "device, pipe or socket" in str(refusal(good))


# ------------------------------------------------------------------------------------------------ memory, code


def test_weights_larger_than_memory_are_refused_with_numbers(good: Path):
    assert inspect(good, memory_bytes=12).tensor_bytes == 12
    error = refusal(good, memory_bytes=11)
    assert "take 12 bytes of memory, and 11 bytes are there" in str(error)


@pytest.mark.parametrize("how", ["file", "auto_map", "custom_pipeline", "package"])
def test_the_marker_model_never_runs(tmp_path: Path, how: str):
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()\n".encode()
    directory = put_all(tmp_path / "model", {"config.json": CONFIG, "model.safetensors": GOOD})
    match how:
        case "file":
            put_all(directory, {"modeling_x.py": code})
        case "package":
            put_all(directory, {"x/__init__.py": code})
        case "auto_map":
            put_all(directory, {"config.json": {**CONFIG, "auto_map": {"AutoConfig": "modeling_x.Config"}}})
        case _:
            put_all(directory, {"model_index.json": {"_class_name": ["pipeline", "Mine"]}})
    with pytest.raises(GateRefused):
        inspect(directory)
    assert not marker.exists()


def test_the_gate_imports_nothing_heavy():
    code = (
        "import sys, quintet.weights.gate as _; "
        "heavy = {'numpy', 'torch', 'openvino', 'safetensors', 'huggingface_hub', 'msgspec', 'fastapi'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_gate_as_a_process(good: Path):
    def judge(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quintet.weights.gate", str(good), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    passed = judge("12")
    assert (passed.returncode, passed.stderr) == (0, "")
    assert Inspection(**{**json.loads(passed.stdout), "files": inspect(good).files}) == inspect(good)
    refused = judge("11")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.strip() == str(refusal(good, memory_bytes=11))


def test_what_the_network_lacks_is_named(tmp_path: Path):
    put(tmp_path, openvino_model__xml=network(layer()))
    assert "openvino_model.bin, is missing" in str(refusal(tmp_path))
    put(tmp_path, openvino_model__bin=b"")
    (tmp_path / "openvino_model.xml").unlink()
    assert "openvino_model.xml, is missing" in str(refusal(tmp_path))


def test_an_index_is_checked_against_the_files(tmp_path: Path):
    shard = safetensors({"a": tensor("U8", [1], 0, 1)}, b"\0")
    put_all(tmp_path, {"model-1.safetensors": shard, "model.safetensors.index.json": {"weight_map": {}}})
    for mapping, rule in (
        ({}, "no weight_map"),
        ({"a": "../model-1.safetensors"}, "not the plain name"),
        ({"a": "/model-1.safetensors"}, "not the plain name"),
        ({"a": "model-1.bin"}, "not the plain name"),
        ({"a": 1}, "not the plain name"),
        ({"a": "model-2.safetensors"}, "not in its folder"),
        ({"b": "model-1.safetensors"}, "not in the file"),
    ):
        put_all(tmp_path, {"model.safetensors.index.json": {"weight_map": mapping}})
        assert rule in str(refusal(tmp_path))
    put_all(
        tmp_path,
        {"model.safetensors.index.json": {"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}},
    )
    assert inspect(tmp_path).tensor_bytes == 1
