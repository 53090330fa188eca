"""Tiny models of real architectures with random weights, converted to IR once per test run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from quintet.weights.conversion import convert_directory

WORDS = ("hello", "world", "red", "blue", "circle", "the", "of", "and", "one", "two", "three", "what", "is")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SLIDING_WINDOW = 24
"""Less than one block of the cache, and much less than the texts of the tests."""
POSITIONS = 65_536
"""The tiny Llama's: room for answers that take minutes. They cost nothing, as rotary embeddings need no table."""

_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    # Wide enough that greedy choices are clear, as a trained model's are.
    "initializer_range": 0.3,
}
_GEMMA = {"query_pre_attn_scalar": 32, "sliding_window": SLIDING_WINDOW}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "decoder_sparse_step": 1}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0,
              "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
    "qwen2": {"use_sliding_window": False, "tie_word_embeddings": True},
    "qwen3": {},
    "phi3": {"sliding_window": SLIDING_WINDOW, "head_dim": 16},
    "mistral": {"sliding_window": SLIDING_WINDOW},
    "gemma2": _GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 30.0},
    "gemma3_text": _GEMMA | {"num_hidden_layers": 3,
                    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "phi3 longrope": {"head_dim": 16, "sliding_window": None, "original_max_position_embeddings": 64,
                      "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0,
                                          "original_max_position_embeddings": 64, "short_factor": [1.0] * 8,
                                          "long_factor": [1.0 + 0.5 * pair for pair in range(8)]}},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": _EXPERTS | {"norm_topk_prob": True},
}  # fmt: skip
"""model_type, maybe a variant → what its configuration has beside the common shape."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level vocabulary: three special tokens, all bytes, and a few whole words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    for char in alphabet:
        vocabulary[char] = len(vocabulary)
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def make_llama(directory: Path) -> LlamaForCausalLM:
    """A two-layer Llama in float32; saves weights to `directory`/pt and the IR to `directory`/ir."""
    sizes = {
        "vocab_size": len(make_tokenizer()),
        "intermediate_size": 128,
        "max_position_embeddings": POSITIONS,
    }
    config = LlamaConfig(**_SHAPE | sizes)
    return _make(config, directory, seed=20)


def make_model(kind: str, directory: Path) -> Any:
    """A tiny model of one of ARCHITECTURES in float32, saved as `make_llama` does."""
    described = _SHAPE | ARCHITECTURES[kind] | {"vocab_size": len(make_tokenizer())}
    return _make(AutoConfig.for_model(kind.split()[0], **described), directory, seed=7)


def _make(config: Any, directory: Path, seed: int) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(directory / "pt")
    make_tokenizer().save_pretrained(directory / "pt")
    convert_directory(directory / "pt", directory / "ir", "text", "fp32", _silently)
    return model


_silently: Callable[[str], None] = lambda _: None  # noqa: E731
