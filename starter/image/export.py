"""Exports trained weights as the diffusers folder that Quintet ships: half precision, safetensors only."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel

from starter.image.noise import SCHEDULE
from starter.image.text import make_text_encoder
from starter.image.tokeniser import load_tokeniser
from starter.image.train import Painter

SHIPPED = (
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
    "tokenizer/merges.txt", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json",
    "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)  # fmt: skip
"""Every file of the shipped folder but the LoRAs."""

INDEX: dict[str, object] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

SCHEDULER: dict[str, object] = {
    "_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.35.0", **SCHEDULE, "timestep_spacing": "linspace",
    "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True,
}  # fmt: skip
"""Euler's settings, and those that DDIM and PNDM need when they are made from them."""


def load_painter(trained: Path) -> Painter:
    """The mean weights of a training run."""
    painter = Painter(make_text_encoder(len(load_tokeniser(trained / "tokenizer"))))
    state = torch.load(trained / "painter.pt", weights_only=True, map_location="cpu")
    painter.load_state_dict(state["painter"])
    with torch.no_grad():
        for own, mean in zip(painter.parameters(), state["mean"], strict=True):
            own.copy_(mean)
    return painter.eval()  # type: ignore[no-any-return]


def export_model(trained: Path, autoencoder: Path, shipped: Path) -> None:
    """Writes the shipped files; what else lies in `shipped` is left alone."""
    painter = load_painter(trained)
    vae = AutoencoderKL.from_pretrained(autoencoder / "vae")
    shipped.mkdir(parents=True, exist_ok=True)
    painter.unet.half().save_pretrained(shipped / "unet")
    _save_text_encoder(painter.text.half(), shipped / "text_encoder")
    vae.half().save_pretrained(shipped / "vae")
    (shipped / "scheduler").mkdir(exist_ok=True)
    _write_json(shipped / "scheduler" / "scheduler_config.json", SCHEDULER)
    (shipped / "tokenizer").mkdir(exist_ok=True)
    for file in SHIPPED:
        if file.startswith("tokenizer/"):
            shutil.copyfile(trained / file, shipped / file)
    _write_json(shipped / "model_index.json", INDEX)


def _save_text_encoder(encoder: CLIPTextModel, folder: Path) -> None:
    encoder.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Writes the shipped folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path, help="the folder of `starter.image.train`")
    parser.add_argument("shipped", type=Path)
    parser.add_argument(
        "--autoencoder", type=Path, required=True, help="the folder of `starter.image.autoencoder`"
    )
    options = parser.parse_args()
    export_model(options.trained, options.autoencoder, options.shipped)
    size = sum((options.shipped / name).stat().st_size for name in SHIPPED)
    print(f"{size / 1e6:.2f} MB in {options.shipped}")


if __name__ == "__main__":
    main()
