"""PEFT LoRA directories with random matrices, and what transformers says with them merged in."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

RANK = 4


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, body = {}, b""
    names = {"float32": "F32", "float16": "F16"}
    for name, values in tensors.items():
        data = np.ascontiguousarray(values).tobytes()
        span = [len(body), len(body) + len(data)]
        header[name] = {"dtype": names[values.dtype.name], "shape": list(values.shape), "data_offsets": span}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_adapter(
    folder: Path, reference: Any, seed: int, modules: tuple[str, ...], rank: int = RANK, **config: Any
) -> Any:
    """A PEFT directory with random matrices; returns the model it was made for, with the change merged in."""
    import torch

    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(modules),
    } | config
    (folder / "adapter_config.json").write_text(json.dumps(config))
    random = np.random.default_rng(seed)
    merged = copy.deepcopy(reference)
    tensors = {}
    for name, module in merged.named_modules():
        if name.rsplit(".", 1)[-1] in modules:
            size_out, size_in = module.weight.shape
            a = random.standard_normal((rank, size_in), np.float32) * 0.2
            b = random.standard_normal((size_out, rank), np.float32) * 0.2
            tensors[f"base_model.model.{name}.lora_A.weight"] = a
            tensors[f"base_model.model.{name}.lora_B.weight"] = b
            with torch.no_grad():
                module.weight += 2.0 * torch.from_numpy(b @ a)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return merged


def greedy(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    import torch

    with torch.inference_mode():
        out = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return out[0, len(prompt) :].tolist()
