"""What quantised activations cost in accuracy: a trained model's distributions against those of exact activations."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

import quintet
from bench.table import Table
from quintet.engines.text.executor import Chunk, Executor
from quintet.engines.text.memory import CacheWish
from quintet.engines.text.vocabulary import Vocabulary

MODEL = Path(quintet.__file__).parent / "starter_models" / "chat"
TURNS = (
    ("What is 17 plus 25?", "17 plus 25 is 42."),
    ("What can you do?", "I can do small sums, tell short stories and answer simple questions."),
    (
        "Tell me a story about a red fox.",
        "Once there was a red fox who lived near a small river. It found a blue ball.",
    ),
    ("List three colours.", "1. red\n2. blue\n3. green"),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Reverse the word cat.", "tac"),
)
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def logprobs(properties: dict[str, Any], conversations: list[list[int]]) -> np.ndarray:
    """[positions, V]: every conversation read at once, and the longest once more token by token."""
    wish = CacheWish(context_length=1024, max_sequences=2, megabytes=64)
    executor = Executor(MODEL, cache=wish, properties=properties)
    table = array("i", range(16))
    rows = [executor.run([Chunk(ids, 0, table, range(len(ids)))]).copy() for ids in conversations]
    for position, id in enumerate(max(conversations, key=len)):
        rows.append(executor.run([Chunk([id], position, table, [0])]).copy())
    executor.close()
    logits = np.concatenate(rows).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def main() -> list[Table]:
    """One row per size of the groups of activations that share a scale."""
    vocabulary = Vocabulary(MODEL)
    texts = (f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n" for q, a in TURNS)
    conversations = [vocabulary.encode(text, add_special_tokens=False) for text in texts]
    exact = logprobs(EXACT, conversations)
    table = Table(
        "accuracy",
        f"starter-chat, {len(exact)} positions: distributions against float32 throughout",
        ("values per scale", "KL divergence, mean", "KL divergence, largest", "same likeliest token"),
    )
    for name, size in (
        ("off", 0),
        ("32, OpenVINO's choice", 32),
        ("64, ours", 64),
        ("128", 128),
        ("256", 256),
    ):
        found = logprobs({"DYNAMIC_QUANTIZATION_GROUP_SIZE": size}, conversations)
        divergence = (np.exp(exact) * (exact - found)).sum(axis=1)
        same = (found.argmax(axis=1) == exact.argmax(axis=1)).mean()
        table.add(name, f"{divergence.mean():.5f}", f"{divergence.max():.4f}", f"{same:.1%}")
    return [table]
