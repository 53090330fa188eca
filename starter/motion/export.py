"""Writes the trained adapter in half precision to the folder that Quintet ships."""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import MotionAdapter

SHIPPED = ("config.json", "diffusion_pytorch_model.safetensors")
"""Every file of the shipped folder."""


def export_adapter(trained: Path, shipped: Path) -> None:
    """Writes the shipped files for the run in `trained`; what else lies in `shipped` is left alone."""
    adapter = MotionAdapter.from_pretrained(trained / "adapter", use_safetensors=True).to(torch.float16)
    scratch = trained / "export"
    shutil.rmtree(scratch, ignore_errors=True)
    adapter.save_pretrained(scratch, safe_serialization=True)
    shipped.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(scratch / name, shipped / name)


def main() -> None:
    """Exports a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("shipped", type=Path)
    options = parser.parse_args()
    export_adapter(options.trained, options.shipped)


if __name__ == "__main__":
    main()
