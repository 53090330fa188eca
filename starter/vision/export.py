"""Exports trained weights to the folder that Quintet ships: three OpenVINO models, their configuration, the tokeniser."""

import shutil
import tempfile
from pathlib import Path

from quintet.weights.conversion import convert_directory
from starter.chat.chatml import IMAGE
from starter.chat.export import run, write_json, write_source
from starter.vision.drawing import INPUT_SIDE
from starter.vision.labels import PATCHES_PER_SIDE

_MODELS = ("openvino_language_model", "openvino_text_embeddings_model", "openvino_vision_embeddings_model")
SHIPPED = (
    *(f"{model}{suffix}" for model in _MODELS for suffix in (".xml", ".bin")),
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
)  # fmt: skip
"""Every file of the shipped folder."""

PREPROCESSOR: dict[str, object] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"height": INPUT_SIDE, "width": INPUT_SIDE},
    "resample": 3,
    "do_center_crop": False,
    "crop_size": {"height": INPUT_SIDE, "width": INPUT_SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_convert_rgb": True,
}
"""Pictures are squeezed into the square, never cropped: bicubic, then from -1 to 1."""


def export_model(trained: Path, shipped: Path, precision: str = "int8") -> None:
    """Writes the shipped files for the weights in `trained`; what else lies in `shipped` is left alone."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        write_source(trained, source)
        write_json(source / "preprocessor_config.json", PREPROCESSOR)
        write_json(source / "processor_config.json", _processor())
        convert_directory(source, target, "vision", precision, lambda _: None)
        shipped.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            shutil.copyfile((target if (target / name).exists() else source) / name, shipped / name)


def _processor() -> dict[str, object]:
    return {
        "processor_class": "LlavaProcessor",
        "image_token": IMAGE,
        "patch_size": INPUT_SIDE // PATCHES_PER_SIDE,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }


def main() -> None:
    """Exports one folder to another."""
    run(__doc__, export_model, "--precision")


if __name__ == "__main__":
    main()
