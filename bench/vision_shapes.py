"""Vision-language models of a known size with random weights, and pictures to show them, all different."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.shapes import FOLDER, VOCABULARY

SIDE = 512
MARKUP = "<image>"
PICTURE_TOKENS = (SIDE // 16) ** 2
SEES = "openvino_vision_embeddings_model"
SPEAKS = "openvino_language_model"

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: "
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3]."""


def smolvlm_256m() -> Path:
    """LLaVA of SmolVLM-256M's size: CLIP tower of 12 layers on 512 pixels, 1,024 tokens a picture; SmolLM2-135M; int8.

    The vocabulary has the image token and is padded to a multiple of 64, as LLaVA's is.
    """
    target = FOLDER / "llava-smolvlm-256m-int8"
    if not (target / "openvino_tokenizer.xml").is_file():
        tower = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        }
        text = {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
        }
        _make(target, SIDE, tower, text | {"num_key_value_heads": 3, "head_dim": 64})
        _check_size(target / f"{SEES}.bin", least=75_000_000, most=110_000_000)
        _check_size(target / f"{SPEAKS}.bin", least=125_000_000, most=170_000_000)
        _convert_tokenizer(target)
    return target


def starter_shape() -> Path:
    """The shape of starter-vision, for as long as it does not ship: 96 pixels, 36 tokens a picture."""
    target = FOLDER / "llava-starter-int8"
    if not (target / "tokenizer.json").is_file():
        tower = {
            "hidden_size": 192,
            "intermediate_size": 640,
            "num_hidden_layers": 5,
            "num_attention_heads": 3,
        }
        text = {
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
        }
        _make(target, 96, tower, text | {"num_key_value_heads": 2, "head_dim": 64, "vocab_size": 4096})
    return target


def draw(random: np.random.Generator, side: int = SIDE) -> Pixels:
    """Something like a photo: smooth light, a few hard-edged shapes, and noise. Every call draws another one."""
    x, y = np.meshgrid(np.linspace(0, 1, side, dtype=np.float32), np.linspace(0, 1, side, dtype=np.float32))
    slopes = random.uniform(1, 6, (3, 2)).astype(np.float32)
    light = np.stack([np.sin(x * across + y * down) for across, down in slopes], axis=-1)
    picture = 128 + 90 * light
    for _ in range(6):
        left, top, width, height = (random.uniform(0.05, 0.6, 4) * side).astype(int)
        picture[top : top + height, left : left + width] = random.integers(0, 256, 3)
    picture += random.standard_normal(picture.shape, np.float32) * 6
    pixels: Pixels = picture.clip(0, 255).astype(np.uint8)
    return pixels


def as_file(pixels: Pixels, kind: str) -> bytes:
    """The picture as a PNG or JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=90)  # PNG has none
    return file.getvalue()


def _make(target: Path, side: int, tower: dict[str, Any], text: dict[str, Any]) -> None:
    import torch
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration

    from quintet.weights.convert import convert

    source = target.with_name(target.name.removesuffix("-int8"))
    words = text.pop("vocab_size", VOCABULARY)
    _save_tokenizer(source, words)
    language = {
        "model_type": "llama",
        "vocab_size": words + 64,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    eye = {"model_type": "clip_vision_model", "image_size": side, "patch_size": 16, "projection_dim": 512}
    config = LlavaConfig(
        vision_config=eye | tower,
        text_config=language | text,
        image_token_index=words,
        image_seq_length=(side // 16) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(source)
    CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(source)
    convert(source, target, task="vision", precision="int8", report=lambda *_: None)


def _save_tokenizer(source: Path, words: int) -> None:
    """A token for every byte, so that a text's length is known; the other words can't be spelled."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {char: id for id, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"w{id}": id for id in range(len(vocabulary), words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=[MARKUP], eos_token=None
    )
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(source)


def _convert_tokenizer(target: Path) -> None:
    """What GenAI reads instead of tokenizer.json; written last."""
    import openvino
    from openvino_tokenizers import convert_tokenizer  # type: ignore[import-untyped]
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(target, local_files_only=True)
    made = convert_tokenizer(tokenizer, with_detokenizer=True)
    for name, model in zip(("openvino_detokenizer", "openvino_tokenizer"), reversed(made), strict=True):
        openvino.save_model(model, target / f"{name}.xml")


def _check_size(path: Path, *, least: int, most: int) -> None:
    size = path.stat().st_size
    if not least <= size <= most:
        raise SystemExit(
            f"{path.name} holds {size:,} bytes of weights: that is not int8 of the wanted shape."
        )
