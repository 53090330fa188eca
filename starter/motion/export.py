"""Writes the trained adapter in half precision to the folder that Quintet ships."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import MotionAdapter

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""The files of the shipped folder."""
_PRIVATE = "_name_or_path"
"""Where the weights lay on the machine that trained them."""


def export_adapter(trained: Path, shipped: Path) -> None:
    """Writes the shipped files for the run in `trained`; what else lies in `shipped` is left alone."""
    adapter = MotionAdapter.from_pretrained(trained / "adapter", use_safetensors=True, dtype=torch.float16)
    scratch = trained / "export"
    shutil.rmtree(scratch, ignore_errors=True)
    adapter.save_pretrained(scratch, safe_serialization=True)
    shipped.mkdir(parents=True, exist_ok=True)
    config = json.loads((scratch / CONFIG).read_text("utf-8"))
    config.pop(_PRIVATE, None)
    (shipped / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(scratch / WEIGHTS, shipped / WEIGHTS)


def main() -> None:
    """Exports a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("shipped", type=Path)
    options = parser.parse_args()
    export_adapter(options.trained, options.shipped)


if __name__ == "__main__":
    main()
