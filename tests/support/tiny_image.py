"""Tiny image models of every family: the real classes with random weights, in folders as diffusers writes them.

Latents are a factor of 8 smaller than pictures, as in the large ones; native is a side of 64 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

NATIVE_SIDE = 64
_WIDTH = 32
"""Of the text encoders."""
_NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def make(family: str, folder: Path) -> Path:
    """Write the tiny model of one of `FAMILIES` to `folder`; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = FAMILIES[family]()
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def make_sd15(**scheduler: Any) -> StableDiffusionPipeline:
    """Stable Diffusion 1.5; with another prediction type also 2.x."""
    return StableDiffusionPipeline(
        vae=_autoencoder(4, scaling_factor=0.18215),
        text_encoder=_clip(CLIPTextModel),
        tokenizer=_clip_tokenizer(),
        unet=_unet(_WIDTH),
        scheduler=PNDMScheduler(**_NOISE, skip_prk_steps=True, **scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_sd2() -> StableDiffusionPipeline:
    """Stable Diffusion 2.1: the same classes, v-prediction."""
    return make_sd15(prediction_type="v_prediction")


def make_sdxl(**scheduler: Any) -> StableDiffusionXLPipeline:
    """SDXL base: two text encoders, sizes as a condition."""
    return StableDiffusionXLPipeline(
        vae=_autoencoder(4, scaling_factor=0.13025),
        text_encoder=_clip(CLIPTextModel),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(2 * _WIDTH, conditions=6),
        scheduler=EulerDiscreteScheduler(**_NOISE, **scheduler),
        add_watermarker=False,
    )


def make_turbo() -> StableDiffusionXLPipeline:
    """SDXL-Turbo and SDXL-Lightning: the same classes, few steps from the end of the schedule."""
    return make_sdxl(timestep_spacing="trailing")


def make_refiner() -> StableDiffusionXLImg2ImgPipeline:
    """SDXL refiner: only the second text encoder, an aesthetic score as a condition."""
    return StableDiffusionXLImg2ImgPipeline(
        vae=_autoencoder(4, scaling_factor=0.13025),
        text_encoder=None,
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer=None,
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(_WIDTH, conditions=5),
        scheduler=EulerDiscreteScheduler(**_NOISE),
        requires_aesthetics_score=True,
        add_watermarker=False,
    )


def make_sd3() -> StableDiffusion3Pipeline:
    """Stable Diffusion 3: three text encoders, a transformer, flow matching."""
    transformer = SD3Transformer2DModel(
        sample_size=NATIVE_SIDE // 8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * _WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * _WIDTH,
        pos_embed_max_size=32,
    )
    return StableDiffusion3Pipeline(
        transformer=_lively(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=_clip(CLIPTextModelWithProjection),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_3=_t5(),
        tokenizer_3=_t5_tokenizer(),
    )


def make_flux(*, guidance_embeds: bool = True) -> FluxPipeline:
    """Flux.1 [dev]: CLIP and T5, a transformer that knows its guidance, flow matching."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * _WIDTH,
        pooled_projection_dim=_WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=guidance_embeds, base_image_seq_len=16, max_image_seq_len=64
        ),
        vae=_autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_clip(CLIPTextModel),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=_lively(transformer),
    )


def make_schnell() -> FluxPipeline:
    """Flux.1 [schnell]: the same without guidance."""
    return make_flux(guidance_embeds=False)


FAMILIES: dict[str, Callable[[], Any]] = {
    "sd15": make_sd15,
    "sd2": make_sd2,
    "sdxl": make_sdxl,
    "turbo": make_turbo,
    "refiner": make_refiner,
    "sd3": make_sd3,
    "flux": make_flux,
    "schnell": make_schnell,
}


def _lively(model: Any) -> Any:
    """The model with every weight at random, also those that start as zeros, so that prompts make a difference."""
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() < 2 and not value.abs().sum():
                value.normal_(0, 0.1)
            elif not value.abs().sum():
                value.normal_(0, 0.2)
    return model.eval()


def _autoencoder(channels: int, **factors: float) -> AutoencoderKL:
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=NATIVE_SIDE,
        use_quant_conv="shift_factor" not in factors,
        use_post_quant_conv="shift_factor" not in factors,
        **factors,
    )
    with torch.no_grad():
        model.decoder.conv_out.weight.mul_(2.0)  # more than one shade of grey
    return model.eval()


def _unet(width: int, *, conditions: int = 0) -> UNet2DConditionModel:
    """For text encoders of this width; SDXL has a number of `conditions` beside the text."""
    extra: dict[str, Any] = {}
    if conditions:
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": conditions * 8 + _WIDTH,
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
        }
    return UNet2DConditionModel(
        sample_size=NATIVE_SIDE // 8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
        **extra,
    ).eval()


def _clip(kind: type[Any]) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(_clip_tokenizer()),
        hidden_size=_WIDTH,
        projection_dim=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        initializer_factor=10.0,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=1,
    )
    return kind(config).eval()


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(_t5_tokenizer()),
        d_model=2 * _WIDTH,
        d_kv=16,
        d_ff=2 * _WIDTH,
        num_layers=2,
        num_heads=4,
        initializer_factor=1.0,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config).eval()


def _clip_tokenizer() -> CLIPTokenizer:
    """Every byte is a token, alone and at the end of a word, as where the real one's vocabulary begins."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocabulary, [], model_max_length=77)


def _t5_tokenizer() -> T5Tokenizer:
    """Every printable ASCII character is a token."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    return T5Tokenizer(pieces, extra_ids=0, model_max_length=512)
