"""CLIP's byte pair encoding, learned from the recipe's captions, as the files that diffusers pipelines read."""

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from starter.image.captions import caption
from starter.image.scenes import draw_wish

LENGTH = 32
"""Tokens of a prompt, start and end included."""

START, END = "<|startoftext|>", "<|endoftext|>"
_ENTRIES = 1000
_CAPTIONS = 20_000
_LEAST_SEEN = 20
_END_OF_WORD = "</w>"
_MORE_WORDS = (
    "four five six outline outlined thin style shape shapes colour color coloured shown moving moves growing shrinking bouncing spinning "
    "still up down across slowly fast gif animation video night pastel neon soft shadow pattern wallpaper poster minimalist canvas could you "
    "for me should be see love just nothing more thanks"
).split()
"""Words that captions do not use but that people, other recipes and LoRAs may."""


def train_tokeniser(folder: Path) -> None:
    """Learns the merges and writes vocabulary, merges and configuration."""
    rng = random.Random("tokeniser")
    captions = [caption(rng, draw_wish(rng)) for _ in range(_CAPTIONS)]
    tokeniser = Tokenizer(models.BPE(end_of_word_suffix=_END_OF_WORD, unk_token=END))
    tokeniser.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=_ENTRIES, end_of_word_suffix=_END_OF_WORD, initial_alphabet=alphabet, special_tokens=[],
        min_frequency=_LEAST_SEEN, show_progress=False,
    )  # fmt: skip
    tokeniser.train_from_iterator(captions + [word for word in _MORE_WORDS for _ in range(200)], trainer)
    _write(folder, alphabet, json.loads(tokeniser.to_str())["model"]["merges"])


def _write(folder: Path, alphabet: list[str], merges: list[list[str]]) -> None:
    """In CLIP's order: bytes, bytes that end a word, merges, the two special tokens."""
    entries = [
        *alphabet,
        *(byte + _END_OF_WORD for byte in alphabet),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    pairs: Any = [tuple(pair) for pair in merges]
    tokeniser = CLIPTokenizer(
        vocab=vocabulary,
        merges=pairs,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=LENGTH,
    )
    tokeniser.save_pretrained(folder)
    # Older readers want these two instead of `tokenizer.json`.
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


def load_tokeniser(folder: Path) -> CLIPTokenizer:
    """The tokeniser of a folder."""
    return CLIPTokenizer.from_pretrained(str(folder))
