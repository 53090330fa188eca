"""What room for text LoRA costs: the same engine with adapters in its graph against without, taking turns."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from bench import shapes
from bench.table import Table
from bench.text_engine import GREEDY, NEW_TOKENS, open_ours, prompts, take_turns
from quintet.core.events import Token
from quintet.core.requests import Limits, TextRequest
from quintet.engines.text.engine import TextEngine
from tests.support.lora import write_safetensors

RANK = 16


def write_adapter(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """An adapter with random matrices for all projections."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": RANK})
    )
    random = np.random.default_rng(0)
    tensors = {}
    for module, (size_in, size_out) in sizes.items():
        for name, shape in (("A", (RANK, size_in)), ("B", (size_out, RANK))):
            values = random.standard_normal(shape, np.float32) * np.float32(0.02)
            tensors[f"base_model.model.{module}.lora_{name}.weight"] = values
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def run(engine: TextEngine, count: int, adapters: tuple[str, ...]) -> float:
    """Answer `count` random prompts, the adapters in turns; new tokens per second, prefill included."""
    begin = time.perf_counter()
    for id, ids in enumerate(prompts(count)):
        request = TextRequest(
            model="bench",
            prompt_ids=tuple(ids),
            sampling=GREEDY,
            limits=Limits(max_new_tokens=NEW_TOKENS, ignore_eos=True),
            adapter=adapters[id % len(adapters)],
        )
        engine.submit(id, engine.prepare(request))
    tokens = 0
    while engine.busy():
        tokens += sum(isinstance(event, Token) for _, event in engine.step())
    return tokens / (time.perf_counter() - begin)


def main(rounds: int = 3) -> list[Table]:
    """No adapter asked for, one adapter, and four different ones in one batch."""
    table = Table(
        "adapters",
        f"Text LoRA of rank {RANK} on all projections, 135M shape, greedy (ratio to the same model loaded without "
        "adapters)",
        ("n", "without (tokens/s)", "loaded, unused", "one adapter", "four adapters at once"),
    )
    with tempfile.TemporaryDirectory() as folder:
        plain = open_ours(shapes.smollm2_135m())
        engine = open_ours(shapes.smollm2_135m(), adapters=folder)
        assert engine.executor.adapter_inputs is not None
        names = tuple(f"adapter-{number}" for number in range(4))
        for name in names:
            write_adapter(Path(folder) / name, engine.executor.adapter_inputs.sizes)
        found: dict[int, list[float]] = {}
        for used in (("",), names[:1], names):
            for count in (1, 16, 64):
                runs = [partial(run, plain, count, ("",)), partial(run, engine, count, used)]
                theirs, ours = take_turns(rounds, *runs)
                found.setdefault(count, [statistics.median(theirs)]).append(
                    statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
                )
        for count, (speed, *ratios) in found.items():
            table.add(count, speed, *ratios)
        engine.close()
        plain.close()
    return [table]
