"""Tiny vision-language models of real architectures with random weights, their processors, and their IR.

One function per family: each saves weights and processor to `directory`/pt and the IR to `directory`/ir.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Image as Picture
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from quintet.weights.conversion import convert_directory
from tests.support.tiny import make_tokenizer

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""IMAGE stands for what the family writes for a picture."""
_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
}
_CLIP: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 48,
}
_CUT = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
_HOW = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}


def make_llava(directory: Path) -> LlavaForConditionalGeneration:
    """LLaVA 1.5: tiles of 32 pixels, 16 rows each."""
    tokenizer = vision_tokenizer("<image>", "<image>")
    config = LlavaConfig(**_llava_config(tokenizer))
    processor = LlavaProcessor(CLIPImageProcessorPil(**_CUT), tokenizer, **_HOW)
    return save_tiny(LlavaForConditionalGeneration, config, processor, directory)


def make_llava_next(directory: Path) -> LlavaNextForConditionalGeneration:
    """LLaVA-NeXT: the same tiles, up to four of them beside the whole picture."""
    tokenizer = vision_tokenizer("<image>", "<image>")
    grids = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = LlavaNextConfig(**_llava_config(tokenizer), image_grid_pinpoints=grids)
    images = LlavaNextImageProcessorPil(**_CUT, image_grid_pinpoints=grids)
    processor = LlavaNextProcessor(images, tokenizer, **_HOW)
    return save_tiny(LlavaNextForConditionalGeneration, config, processor, directory)


def vision_tokenizer(markup: str, *special: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with more special tokens, and a template that writes `markup` for a picture."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *special]})
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", markup)
    return tokenizer


def text_config(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    """The language model's part of a config."""
    return _TEXT | {"vocab_size": len(tokenizer)} | more


def save_tiny(maker: Any, config: Any, processor: Any, directory: Path) -> Any:
    """A model with random weights in float32, with all its files."""
    torch.manual_seed(7)
    model = maker._from_config(config, dtype=torch.float32).eval()
    source, target = directory / "pt", directory / "ir"
    model.save_pretrained(source)
    processor.save_pretrained(source)
    convert_directory(source, target, "vision", "fp32", lambda _: None)
    return model


def draw(width: int, height: int, *, seed: int = 0) -> Picture:
    """A picture with smooth and sharp parts, another one for each seed."""
    generator = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(x * generator.uniform(2, 40) + y * generator.uniform(2, 40)) for _ in range(3)]
    pixels = np.stack(waves, -1) * 110 + 128 + generator.uniform(-17, 17, (height, width, 3))
    pixels[: height // 3, width // 2 :] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _llava_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vision_config": {"model_type": "clip_vision_model", **_CLIP},
        "text_config": {"model_type": "llama", **text_config(tokenizer)},
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "image_seq_length": 16,
        "vision_feature_layer": -2,
    }
