"""The model's shape: a small CLIP tower whose last but one layer a projector hands to starter-chat's language model."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from starter.chat.chatml import IMAGE
from starter.vision.drawing import INPUT_SIDE
from starter.vision.labels import HEADS, PATCHES_PER_SIDE

FEATURE_LAYER = -2
PATCHES = PATCHES_PER_SIDE**2
UNUSED = (".layers.4.", "post_layernorm")
"""Parts of the tower behind the layer that is read: they stay as they were drawn."""


def tower_config() -> CLIPVisionConfig:
    """Five layers of width 192 on 36 patches of 16 pixels; the fifth is never read, as in every LLaVA."""
    return CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=3,
        image_size=INPUT_SIDE,
        patch_size=INPUT_SIDE // PATCHES_PER_SIDE,
        projection_dim=192,
    )


class Eye(torch.nn.Module):  # type: ignore[misc]
    """The tower with one linear head for everything that is told of each patch; the heads are dropped afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(tower_config())
        self.tower.set_attn_implementation("eager")
        self.heads = torch.nn.Linear(tower_config().hidden_size, sum(HEADS.values()))

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [pictures, patches, classes] of every head."""
        logits = self.heads(features(self.tower, pixels)).float()
        return dict(zip(HEADS, logits.split(list(HEADS.values()), dim=-1), strict=True))


def features(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What the projector reads, the last but one layer's patches, without running the last layer."""
    inner = tower.vision_model
    states: torch.Tensor = inner.pre_layrnorm(inner.embeddings(pixels))
    for layer in inner.encoder.layers[: FEATURE_LAYER + 1]:
        states = layer(states, None)
    return states[:, 1:]


def normalised(pixels: Any) -> torch.Tensor:
    """Pixels [pictures, height, width, 3] of 0 to 255 as the tower takes them: channels first, from -1 to 1."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def new_model(chat: Path, tower: dict[str, torch.Tensor] | None = None) -> LlavaForConditionalGeneration:
    """A LLaVA with starter-chat's language model, a new projector, and the given weights of the tower."""
    tokeniser = Tokenizer.from_file(str(chat / "tokenizer.json"))
    language = LlamaForCausalLM.from_pretrained(chat, dtype=torch.float32)
    config = LlavaConfig(
        vision_config=tower_config(),
        text_config=language.config,
        image_token_index=tokeniser.token_to_id(IMAGE),
        image_seq_length=PATCHES,
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config).float()
    model.model.language_model.load_state_dict(language.model.state_dict())
    if tower is not None:
        model.model.vision_tower.load_state_dict(tower)
    model.tie_weights()
    model.set_attn_implementation("eager")
    return model
