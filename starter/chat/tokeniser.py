"""Trains the tokeniser: a byte-level BPE of 4,096 entries whose digits stand alone and whose role words are whole."""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from starter.chat.chatml import END, END_OF_TEXT, PAD, ROLES, SPECIAL_TOKENS, TEMPLATE
from starter.chat.conversations import training_conversation
from starter.chat.skills_text import VOCABULARY
from starter.chat.world import HINDI, SPANISH

VOCABULARY_SIZE = 4096
CONTEXT_TOKENS = 2048
_CONVERSATIONS = 30_000
_WORD_REPEATS = 40
_PICTURE_WORDS = (
    "picture image photo drawing left right top bottom middle above below beside background bar bars chart tallest "
    "shortest letter digit shape shapes large small count both same different first second describe there shows"
).split()
"""Words of the vision model that reuses this tokeniser."""


def build_tokeniser(seed: int = 7) -> Tokenizer:
    """Trains the tokeniser on conversations of the recipe."""
    tokeniser = Tokenizer(models.BPE())
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokeniser.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokeniser.train_from_iterator(_corpus(random.Random(seed)), trainer)
    return tokeniser


def _corpus(rng: random.Random) -> Iterator[str]:
    for _ in range(_CONVERSATIONS):
        yield "\n".join(text for _, text in training_conversation(rng))
    words = [*VOCABULARY, *SPANISH.values(), *HINDI.values(), *_PICTURE_WORDS]
    for _ in range(_WORD_REPEATS):
        yield from (f" {word}" for word in words)
    for _ in range(4000):
        yield from (f"{role}\n" for role in ROLES)


def save_tokeniser(tokeniser: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokeniser.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": END_OF_TEXT,
        "add_bos_token": False,
        "add_eos_token": False,
        "model_max_length": CONTEXT_TOKENS,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


def main() -> None:
    """Trains the tokeniser into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    save_tokeniser(build_tokeniser(), parser.parse_args().folder)


if __name__ == "__main__":
    main()
