"""Models of a known size with random weights, converted to IR once and kept in build/bench."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"
VOCABULARY = 49152


def smollm2_135m() -> Path:
    """Llama of SmolLM2-135M's shape (30 layers, width 576, 9 heads, 3 KV heads), int8 IR, no end-of-sequence."""
    target = FOLDER / "smollm2-135m-int8"
    if not (target / "openvino_model.xml").is_file():
        _convert(target)
    return target


def _convert(target: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from quintet.weights.convert import convert

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        rope_theta=100000.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    source = FOLDER / "smollm2-135m"
    LlamaForCausalLM(config).save_pretrained(source)
    vocabulary = {char: id for id, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"w{id}": id for id in range(len(vocabulary), VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(source)
    convert(source, target, task="text", precision="int8", report=lambda *_: None)
    weights = (target / "openvino_model.bin").stat().st_size
    if weights > 160_000_000:
        raise SystemExit(f"{target} holds {weights:,} bytes of weights: that is not int8.")
