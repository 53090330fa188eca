"""A llama of 160,000 random weights in llama.cpp's own file format; it says words of three letters."""

import gguf
import numpy as np

WIDTH, INNER, LAYERS, HEADS = 64, 128, 2, 4
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


def vocabulary():
    """Pieces, their scores and kinds: three marks, all bytes, words, letters."""
    kinds = gguf.TokenType
    found = [
        (piece, 0.0, kind)
        for piece, kind in (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL))
    ]
    found += [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]
    silent = len(found)
    words = [f"\u2581{chr(97 + i // 10)}{'aeiou'[i % 5]}{'nrst'[i % 4]}" for i in range(260)]
    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    found += [(word, -float(i), kinds.NORMAL) for i, word in enumerate(words)]
    found += [(letter, -1000.0 - i, kinds.NORMAL) for i, letter in enumerate(letters)]
    return found, silent


def write_gguf(path):
    """Write the model."""
    random = np.random.default_rng(7)
    pieces, silent = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(65536)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece for piece, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    def weights(*shape, scale=0.2):
        return (random.standard_normal(shape) * scale).astype(np.float32)

    writer.add_tensor("token_embd.weight", weights(len(pieces), WIDTH))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", np.ones(WIDTH, np.float32))
        for name in ("q", "k", "v", "output"):
            writer.add_tensor(f"{block}attn_{name}.weight", weights(WIDTH, WIDTH))
        writer.add_tensor(block + "ffn_norm.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(block + "ffn_gate.weight", weights(INNER, WIDTH))
        writer.add_tensor(block + "ffn_up.weight", weights(INNER, WIDTH))
        writer.add_tensor(block + "ffn_down.weight", weights(WIDTH, INNER))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    output = weights(len(pieces), WIDTH, scale=0.6)
    output[:silent] = 0  # never a mark or half a character when the likeliest token is taken
    writer.add_tensor("output.weight", output)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
