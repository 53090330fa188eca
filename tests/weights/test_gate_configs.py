"""JSON files of a model: references to code, classes, bounds, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quintet.weights.configs import Facts, check_config, read_facts
from quintet.weights.disarm import disarm
from quintet.weights.gate import inspect
from quintet.weights.json_text import parse_json
from quintet.weights.refusal import GateRefused
from tests.weights.gate_files import CONFIG, GOOD, put_all, refusal

CONFIGS = [
    "config.json", "generation_config.json", "tokenizer_config.json", "preprocessor_config.json",
    "processor_config.json", "image_processor_config.json", "adapter_config.json", "special_tokens_map.json",
    "unet/config.json",
]  # fmt: skip

REFERENCES: list[dict[str, Any]] = [
    {"auto_map": {"AutoModel": "modeling_x.X"}},
    {"auto_map": ["tokenization_x.X", None]},
    {"auto_map": "x"},
    {"trust_remote_code": True},
    {"trust_remote_code": 1},
    {"trust_remote_code": "false"},
    {"trust_remote_code": {}},
    {"custom_pipeline": "owner/name"},
    {"custom_pipelines": {"task": {"impl": "mine.Pipeline"}}},
    {"custom_code": True},
    {"custom_generate": "generate.py"},
    {"custom_anything": ["a"]},
    {"_target_": "os.system"},
    {"attn_implementation": "owner/name"},
    {"_attn_implementation": "owner/name@main:function"},
    {"_attn_implementation_internal": "owner/name"},
    {"attn_implementation": {"": "sdpa", "text_config": "owner/name"}},
    {"experts_implementation": ["owner/name"]},
    {"parent_library": "transformers_modules.mine"},
    {"parent_library": "os"},
    {"parent_library": ["os"]},
    {"_class_name": ["pipeline", "Mine"]},
    {"_class_name": "os.system"},
    {"_class_name": "Mine"},
]
HARMLESS: list[dict[str, Any]] = [
    {"auto_map": None},
    {"auto_map": {}},
    {"trust_remote_code": False},
    {"trust_remote_code": None},
    {"custom_pipelines": {}},
    {"custom_pipelines": None},
    {"custom_pipeline": ""},
    {"custom_dropout": 0.1},
    {"custom_code": False},
    {"attn_implementation": "flash_attention_2"},
    {"attn_implementation": {"": "sdpa", "text_config": None}},
    {"experts_implementation": None},
    {"parent_library": None},
    {"parent_library": "transformers.models.llama.modeling_llama"},
    {"_class_name": "UNet2DConditionModel"},
    {"_class_name": "AutoencoderKLWan"},
    {"_class_name": "EulerDiscreteScheduler"},
    {"_class_name": "FluxTransformer2DModel"},
    {"_class_name": "MotionAdapter"},
    {"auto_mapping": {"base_model_class": "X", "parent_library": "transformers"}},
    {"text": "auto_map", "values": ["trust_remote_code"]},
]


@pytest.mark.parametrize("value", REFERENCES)
@pytest.mark.parametrize(
    "nest", [lambda it: it, lambda it: {"text_config": it}, lambda it: {"a": [[{"b": it}]]}]
)
def test_a_reference_to_code_is_refused_however_deep(value: Any, nest: Any):
    with pytest.raises(GateRefused) as caught:
        check_config("config.json", nest(value))
    assert not any(word in str(caught.value) for word in ("os.system", "mine", "modeling_x", "generate.py"))


@pytest.mark.parametrize("value", HARMLESS)
def test_what_only_looks_like_a_reference_passes(value: Any):
    check_config("config.json", value)
    check_config("config.json", {"a": [value]})


@pytest.mark.parametrize("name", CONFIGS)
def test_every_json_file_is_looked_at(tmp_path: Path, name: str):
    put_all(tmp_path, {"config.json": CONFIG, "model.safetensors": GOOD})
    put_all(tmp_path, {name: {**CONFIG, "inner": {"auto_map": {"AutoConfig": "x.X"}}}})
    error = refusal(tmp_path)
    assert error.file == name
    assert "Quintet runs no code that comes with a model" in str(error)


def test_words_of_a_vocabulary_are_no_keys():
    words = {"auto_map": 1, "trust_remote_code": 2, "custom_x": 3}
    check_config("vocab.json", words)
    check_config("vocabulary.json", ["auto_map"])
    check_config("tokenizer.json", {"model": {"type": "BPE", "vocab": words, "merges": []}})
    for wrong in ({"a": {"auto_map": {"x": "y"}}}, [["a"]], 1, {"a": [1]}):
        with pytest.raises(GateRefused, match="vocabulary"):
            check_config("vocab.json", wrong)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ([], "no tokenizer"),
        ({}, "no tokenizer"),
        ({"model": []}, "no tokenizer"),
        ({"model": {}, "pre_tokenizer": {"pattern": {"Regex": "a" * 4097}}}, "regular expressions"),
        ({"model": {}, "normalizer": {"normalizers": [{"pattern": {"Regex": 1}}]}}, "regular expressions"),
        ({"model": {}, "decoder": {"all": [{"Regex": "a"}] * 65}}, "regular expressions"),
        ({"model": {"auto_map": {"a": "b"}}}, "program code"),
    ],
)
def test_a_wrong_tokenizer_is_refused(value: Any, rule: str):
    with pytest.raises(GateRefused, match=rule):
        check_config("tokenizer.json", value)


def test_a_tokenizer_with_ordinary_patterns_passes():
    check_config("tokenizer.json", {"model": {}, "pre_tokenizer": {"pattern": {"Regex": "a" * 4096}}})


@pytest.mark.parametrize(
    "component",
    [
        ["diffusers", "UNet2DConditionModel"],
        ["diffusers", "AutoencoderKL"],
        ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        ["transformers", "CLIPTextModelWithProjection"],
        ["transformers", "T5TokenizerFast"],
        ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        ["transformers", "CLIPImageProcessor"],
        ["optimum", "OVModelUnet"],
        ["optimum.intel.openvino.modeling_diffusion", "OVModelTextEncoder"],
        ["stable_diffusion", "StableDiffusionSafetyChecker"],
        [None, None],
        None,
        True,
        8,
    ],
)
def test_known_components_pass(component: Any):
    check_config("model_index.json", {"_class_name": "StableDiffusionPipeline", "part": component})


@pytest.mark.parametrize(
    "component",
    [
        ["os", "system"],
        ["diffusers_modules.local.x", "MineModel"],
        ["unet_code", "UNet2DConditionModel"],
        ["diffusers", "load_pipeline"],
        ["transformers", "pipeline"],
        ["transformers", "Model.__init__"],
        ["diffusers", None],
        [None, "UNet2DConditionModel"],
        ["diffusers", "UNet2DConditionModel", "more"],
        [["diffusers"], "UNet2DConditionModel"],
        ["stable_diffusion", "Other"],
        ["optimum", "System"],
        ["diffusers"],
        "diffusers",
        {"library": "diffusers"},
    ],
)
def test_other_components_are_refused(component: Any):
    with pytest.raises(GateRefused, match=r"\[library, class\]"):
        check_config("sub/model_index.json", {"part": component})


def test_a_pipeline_of_another_shape_is_refused():
    with pytest.raises(GateRefused, match="object of components"):
        check_config("model_index.json", [])


def test_layers_of_sentence_encoders():
    right = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    check_config("modules.json", right)
    for wrong in ([{"type": "custom_st.Transformer"}], [{"type": "sentence_transformers"}], [{}], {}, ["x"]):
        with pytest.raises(GateRefused, match="sentence_transformers"):
            check_config("modules.json", wrong)


def test_a_template_of_absurd_length_is_refused():
    with pytest.raises(GateRefused, match="chat template"):
        check_config("tokenizer_config.json", {"chat_template": "x" * (1024**2 + 1)})


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":1}{}', "not valid JSON"),
        (b'{"a":1,"a":2}', "same key twice"),
        (b'{"a":[{"b":1,"b":1}]}', "same key twice"),
        (b"[Infinity]", "NaN or Infinity"),
        (b"[1e400]", "too large"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 10**6, "deeper than 64"),
        (b"[]," * 4_000_001, "more than 8,000,000"),
    ],
)
def test_json_out_of_bounds_is_refused(data: bytes, rule: str):
    with pytest.raises(GateRefused, match=rule):
        parse_json("a.json", data)


def test_json_within_bounds_is_read():
    assert parse_json("a.json", b"[" * 64 + b"]" * 64)
    assert parse_json("a.json", '{"a": [1.5, "é", null]}'.encode()) == {"a": [1.5, "é", None]}


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        ([], Facts()),
        ({"architectures": "x", "model_type": 1, "max_position_embeddings": True}, Facts()),
        ({"model_type": "gpt2", "n_positions": 1024}, Facts("", "gpt2", 1024)),
        ({"text_config": {"max_position_embeddings": 8}}, Facts("", "", 8)),
        ({"max_position_embeddings": 4, "text_config": {"max_position_embeddings": 8}}, Facts("", "", 4)),
    ],
)
def test_facts(value: Any, facts: Facts):
    assert read_facts(value) == facts


# ------------------------------------------------------------------------------------------------ disarmed


def test_a_native_model_is_disarmed_and_passes(tmp_path: Path):
    config = {**CONFIG, "model_type": "phi3", "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}
    quantized = {"dtype": "int4", "quantization_config": {"trust_remote_code": True, "bits": 4}}
    put_all(
        tmp_path,
        {
            "config.json": config,
            "openvino_config.json": quantized,
            "generation_config.json": {"eos_token_id": 2},
            "vocab.json": {"auto_map": 1},
            "model.safetensors": GOOD,
        },
    )
    assert "program code (auto_map)" in str(refusal(tmp_path))
    untouched = (tmp_path / "generation_config.json").read_bytes()
    assert disarm(tmp_path) == ["config.json", "openvino_config.json"]
    assert json.loads((tmp_path / "config.json").read_bytes()) == {**CONFIG, "model_type": "phi3"}
    assert json.loads((tmp_path / "openvino_config.json").read_bytes())["quantization_config"] == {"bits": 4}
    assert (tmp_path / "generation_config.json").read_bytes() == untouched
    assert inspect(tmp_path).model_type == "phi3"
    assert disarm(tmp_path) == []


@pytest.mark.parametrize("extra", [{"model_type": "mine"}, {"model_type": None}, {"model_type": ["phi3"]}])
def test_a_model_that_needs_its_code_is_not_disarmed(tmp_path: Path, extra: dict[str, Any]):
    put_all(tmp_path, {"config.json": {**CONFIG, **extra, "auto_map": {"AutoConfig": "x.X"}}})
    put_all(tmp_path, {"model.safetensors": GOOD})
    assert disarm(tmp_path) == []
    assert "auto_map" in str(refusal(tmp_path))


def test_other_references_stay_and_are_refused(tmp_path: Path):
    put_all(
        tmp_path,
        {"config.json": {**CONFIG, "custom_pipelines": {"a": {"impl": "x.X"}}}, "model.safetensors": GOOD},
    )
    assert disarm(tmp_path) == []
    assert "a custom key" in str(refusal(tmp_path))
