"""What is downloaded of a repository, by its listing."""

from __future__ import annotations

import pytest

from quintet.weights.names import kind_of, wanted
from quintet.weights.refusal import GateRefused

TEXT = [
    ".gitattributes", "LICENSE", "README.md", "config.json", "configuration_x.py", "modeling_x.py",
    "generation_config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "consolidated.safetensors", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "tf_model.h5", "flax_model.msgpack",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "merges.txt", "vocab.json",
    "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "onnx/model.onnx", "onnx/config.json",
    "original/params.json", "original/consolidated.00.pth", "training_args.bin", "trainer_state.json",
    "requirements.txt", "model.Q4_K_M.gguf", "picture.png", "openvino/openvino_model.xml",
    "openvino/openvino_model.bin", "eval_results.json", "../outside.json",
]  # fmt: skip

SDXL = [
    ".gitattributes", "LICENSE.md", "README.md", "01.png", "model_index.json", "sd_xl_base_1.0.safetensors",
    "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors", "text_encoder/model.onnx", "text_encoder/openvino_model.bin",
    "text_encoder/openvino_model.xml", "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.bin", "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.bf16.safetensors",
]  # fmt: skip


def test_a_text_model():
    expected = [
        "LICENSE", "README.md", "config.json", "generation_config.json", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
        "tokenizer.model", "tokenizer_config.json", "merges.txt", "vocab.json", "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
    ]  # fmt: skip
    assert wanted(TEXT, "safetensors") == expected


def test_a_pipeline_takes_one_variant_of_each_part():
    expected = [
        "LICENSE.md", "README.md", "model_index.json", "scheduler/scheduler_config.json",
        "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/merges.txt",
        "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors",
    ]  # fmt: skip
    assert wanted(SDXL, "diffusers") == expected


def test_variants_in_several_files_belong_together():
    names = [
        "model_index.json",
        "unet/w.fp16-00001-of-00002.safetensors",
        "unet/w.fp16-00002-of-00002.safetensors",
        "unet/w.safetensors.index.fp16.json",
        "unet/w.bf16.safetensors",
    ]
    assert wanted(names, "diffusers") == names[:4]


def test_a_converted_model():
    names = [
        "config.json", "openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml",
        "openvino_tokenizer.bin",
    ]  # fmt: skip
    assert wanted([*names, "model.safetensors", "model.safetensors.index.json"], "openvino") == names


def test_a_speech_model():
    names = ["config.json", "model.bin", "tokenizer.json", "vocabulary.json", "preprocessor_config.json"]
    assert wanted([*names, "pytorch_model.bin"], "ctranslate2") == names


def test_a_sentence_encoder():
    names = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    names += ["config.json", "model.safetensors", "modules.json"]
    others = ["train_script.py", "data_config/x.json", "onnx/model.onnx", "1_Pooling/pytorch_model.bin"]
    assert wanted([*names, *others], "safetensors") == names


def test_a_component_alone():
    names = ["config.json", "diffusion_pytorch_model.safetensors"]
    others = ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"]
    assert wanted([*names, *others], "diffusers") == names


def test_an_adapter():
    names = ["adapter_config.json", "adapter_model.safetensors"]
    assert wanted([*names, "adapter_model.bin"], "safetensors") == names


@pytest.mark.parametrize("format", ["openvino", "safetensors", "diffusers", "ctranslate2"])
def test_the_gate_knows_the_name_of_everything_that_is_wanted(format: str):
    for name in wanted([*TEXT, *SDXL], format):
        kind_of(name)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("pytorch_model.bin", "can run code"),
        ("x/modeling_y.py", "program code"),
        ("model.gguf", "do not read this format"),
        ("weights.tar.gz", "Archives"),
        ("what.ever", "none that a model needs"),
        ("bin", "can run code"),
        ("model.safetensors\n", "none that a model needs"),
        ("../model.safetensors", "none that a model needs"),
        ("/model.safetensors", "none that a model needs"),
    ],
)
def test_the_reason_fits_the_name(name: str, rule: str):
    with pytest.raises(GateRefused, match=rule):
        kind_of(name)
