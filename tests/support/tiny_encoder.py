"""Tiny sentence encoders with random weights, converted to IR, and what transformers makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from quintet.weights.conversion import import_exporter

WORDS = ("hello", "world", "red", "blue", "circle", "the", "of", "and", "one", "two", "three", "what", "is")
POSITIONS = 48
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    # Wide enough that different texts have clearly different vectors.
    "initializer_range": 0.3,
}
POOLING_FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}


@dataclass
class TinyEncoder:
    """The same weights as a transformers model and as an IR directory."""

    directory: Path
    pooling: str
    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def vector(self, text: str | Sequence[int], dimensions: int | None = None) -> np.ndarray:
        """The unit vector of a text or of ids, alone, by transformers and sentence-transformers' formulas."""
        ids = self.ids(text) if isinstance(text, str) else list(text)
        with torch.inference_mode():
            hidden = self.reference(torch.tensor([ids])).last_hidden_state[0]
        pooled = {"cls": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}[self.pooling]
        return torch.nn.functional.normalize(pooled[:dimensions], dim=0).numpy()


def make_bert(root: Path) -> TinyEncoder:
    """A BERT with the mean of its tokens, as in older files: one flag per way of pooling."""
    config = BertConfig(vocab_size=_size(), max_position_embeddings=POSITIONS, pad_token_id=0, **SIZES)
    return _make(root, lambda: BertModel(config), "mean", "[CLS] $A [SEP]")


def make_roberta(root: Path) -> TinyEncoder:
    """An XLM-RoBERTa with its first token: positions are counted from behind the padding's id."""
    config = XLMRobertaConfig(
        vocab_size=_size(), max_position_embeddings=POSITIONS + 2, pad_token_id=1, **SIZES
    )
    return _make(root, lambda: XLMRobertaModel(config), "cls", "[CLS] $A [SEP]")


def make_qwen(root: Path) -> TinyEncoder:
    """A Qwen3 with its last token, as in newer files: one key for the way of pooling."""
    config = Qwen3Config(
        vocab_size=_size(), max_position_embeddings=256, num_key_value_heads=2, head_dim=16, **SIZES
    )
    return _make(root, lambda: Qwen3Model(config), "last", "$A [SEP]")


def _make(root: Path, build: Callable[[], PreTrainedModel], pooling: str, template: str) -> TinyEncoder:
    import_exporter()
    from optimum.exporters.openvino import main_export

    torch.manual_seed(20)
    model, tokenizer = build().eval(), _make_tokenizer(template)
    model.save_pretrained(root / "pt")
    tokenizer.save_pretrained(root / "pt")
    main_export(
        str(root / "pt"),
        output=root / "ir",
        task="feature-extraction",
        convert_tokenizer=False,
        ov_config=None,
    )
    describe_pooling(root / "ir", pooling, as_flags=pooling != "last")
    return TinyEncoder(root / "ir", pooling, model, tokenizer)


def describe_pooling(directory: Path, pooling: str, *, as_flags: bool) -> None:
    """The files that sentence-transformers writes beside the weights."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    described: dict[str, Any] = {"word_embedding_dimension": SIZES["hidden_size"]}
    if as_flags:
        described |= {f"pooling_mode_{flag}": way == pooling for way, flag in POOLING_FLAGS.items()}
    else:
        described["pooling_mode"] = POOLING_FLAGS[pooling]
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(described))


def _vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    return {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}


def _size() -> int:
    return len(_vocabulary())


def _make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """WordPiece over a few whole words and all letters."""
    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
