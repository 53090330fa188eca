"""Tiny vision-language models of real architectures with random weights, their processors, and their IR.

One function per family: each saves weights and processor to `directory`/pt and the IR to `directory`/ir.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Image as Picture
from transformers import (
    CLIPImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

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
_TILED: dict[str, Any] = {"size": {"longest_edge": 192}, "max_image_size": {"longest_edge": 64}}
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


def make_idefics3(directory: Path) -> Idefics3ForConditionalGeneration:
    """Idefics3: tiles of 64 pixels, 16 rows each, up to nine of them beside the whole picture."""
    processor = idefics3_processor()
    config = Idefics3Config(**_tiled_config(processor.tokenizer))
    return save_tiny(Idefics3ForConditionalGeneration, config, processor, directory)


def make_smolvlm(directory: Path) -> SmolVLMForConditionalGeneration:
    """SmolVLM: the same tiles."""
    processor = smolvlm_processor()
    config = SmolVLMConfig(**_tiled_config(processor.tokenizer))
    return save_tiny(SmolVLMForConditionalGeneration, config, processor, directory)


def make_qwen25_vl(directory: Path) -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL: patches of 14 pixels, four in a token, windows of four tokens, 4 to 100 tokens a picture."""
    processor = qwen25_vl_processor()
    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids(
        ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    )
    vision = {
        "depth": 3,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 64,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.1,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text_config(tokenizer, rope_parameters=rope),
        vision_start_token_id=ids[0],
        vision_end_token_id=ids[1],
        image_token_id=ids[2],
        video_token_id=ids[3],
    )
    return save_tiny(Qwen2_5_VLForConditionalGeneration, config, processor, directory)


class _Pictures:
    """Before a processor that wants a part for videos, which needs torchvision: it gets along without."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


class _SmolVLMPictures(_Pictures, SmolVLMProcessor):  # type: ignore[misc]
    video_processor = SimpleNamespace(num_frames=1, fps=1)


class _Qwen25VLPictures(_Pictures, Qwen2_5_VLProcessor):  # type: ignore[misc]
    pass


def idefics3_processor() -> Idefics3Processor:
    """Its tokenizer has no tokens of their own for rows and columns."""
    tokenizer = vision_tokenizer("<image>", "<image>", "<fake_token_around_image>", "<end_of_utterance>")
    images = Idefics3ImageProcessorPil(**_TILED)
    return Idefics3Processor(images, tokenizer, image_seq_len=16, chat_template=tokenizer.chat_template)


def smolvlm_processor() -> SmolVLMProcessor:
    """Its tokenizer has tokens for rows and columns, as the real one."""
    places = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    around = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    processing_smolvlm.num2words = str  # says numbers of video frames; not installed, and never called here
    tokenizer = vision_tokenizer("<image>", *around, *places)
    images = SmolVLMImageProcessorPil(**_TILED)
    return _SmolVLMPictures(images, tokenizer, None, image_seq_len=16, chat_template=tokenizer.chat_template)


def qwen25_vl_processor() -> Qwen2_5_VLProcessor:
    """The real one, with smaller bounds."""
    markup = "<|vision_start|><|image_pad|><|vision_end|>"
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 280 * 280})
    tokenizer = vision_tokenizer(markup, *special)
    return _Qwen25VLPictures(images, tokenizer, chat_template=tokenizer.chat_template)


PROCESSORS = {"idefics3": idefics3_processor, "smolvlm": smolvlm_processor, "qwen2_5_vl": qwen25_vl_processor}
"""model_type → its processor, for those that AutoProcessor can't open without torchvision."""


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


def _tiled_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    vision = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "vision_config": {**vision, "image_size": 64, "patch_size": 8, "initializer_range": 0.1},
        "text_config": {"model_type": "llama", **text_config(tokenizer)},
        "scale_factor": 2,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": 0,
    }
