"""The model's tokenizer: text to ids, ids to exact bytes and text. Reads tokenizer.json, runs no foreign code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.core.events import TokenSpan

MAX_TOKENIZER_BYTES = 100 * 1024 * 1024
MAX_SPANS = 131_072
"""Tokens shown at once: each of them becomes an object here and in the gateway."""


class Vocabulary:
    """All token ids of one model: what they spell, which are special, which end an answer."""

    def __init__(self, directory: Path) -> None:
        """Reads tokenizer.json and the configs beside it; raises LoadFailed if they are missing or too large."""
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise LoadFailed("the model directory has no tokenizer.json; pull or convert the model again.")
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise LoadFailed("tokenizer.json is larger than 100 MB, which no known model needs.")
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        added = self.tokenizer.get_added_tokens_decoder()
        described = json.loads(path.read_text("utf-8"))
        self.byte_level = _has_kind(described.get("decoder"), "ByteLevel")
        self.strips_first_space = _has_kind(described.get("decoder"), "Metaspace", "Strip")
        self._bytes = self._spell(added)
        self.config = read_json(directory / "tokenizer_config.json")
        self.bos = token_text(self.config, "bos_token")
        """How the token is written that begins a text; empty if there is none."""
        self.eos = self._find_eos(directory)
        # Some tokenizers don't mark their end token as special; nobody wants to read it all the same.
        self.special = self.eos | {id for id, token in added.items() if token.special}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The ids of a text; special tokens written in it count as such."""
        # Only the batch calls of tokenizers give up the interpreter's lock; `encode` would stop the stepping
        # thread, and with it everybody's tokens, for as long as it reads.
        encoding: Encoding = self.tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)[
            0
        ]
        ids: list[int] = encoding.ids
        return ids

    def spans(self, text: str, *, add_special_tokens: bool) -> tuple[TokenSpan, ...]:
        """The tokens of a text with the characters they cover; raises InvalidRequest if they are too many."""
        encoding: Encoding = self.tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)[0]
        if len(encoding) > MAX_SPANS:
            raise InvalidRequest(
                f"the text has {len(encoding)} tokens and at most {MAX_SPANS} are shown at once; send it in pieces."
            )
        return tuple(
            TokenSpan(id, text[start:end] if end > start else self.text(id), start, end)
            for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        )

    def raw(self, id: int) -> bytes:
        """The exact bytes a token stands for, maybe half a character; empty for ids outside the vocabulary."""
        return self._bytes[id] if 0 <= id < len(self._bytes) else b""

    def text(self, id: int) -> str:
        """A token on its own, readable as far as its bytes are."""
        return self.raw(id).decode("utf-8", "replace")

    def _spell(self, added: dict[int, Any]) -> list[bytes]:
        """The bytes of every id, worked out once from the tokens' written form."""
        unmap = _byte_level_alphabet()
        table: list[bytes] = []
        for id in range(self.size):
            if id in added:
                table.append(added[id].content.encode("utf-8"))
                continue
            piece = self.tokenizer.id_to_token(id) or ""
            if self.byte_level:
                table.append(bytes(unmap[char] for char in piece if char in unmap))
            elif len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
                table.append(bytes([int(piece[3:5], 16)]))
            else:
                table.append(piece.replace("\u2581", " ").encode("utf-8"))
        return table

    def _find_eos(self, directory: Path) -> frozenset[int]:
        """Ids that end an answer: generation_config.json's, else config.json's, and the tokenizer's own."""
        found: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            listed = read_json(directory / name).get("eos_token_id")
            if listed is not None:
                found.update(listed if isinstance(listed, list) else [listed])
                break
        own = token_text(self.config, "eos_token")
        id = self.tokenizer.token_to_id(own) if own else None
        if id is not None:
            found.add(id)
        return frozenset(found)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} if there is no such file."""
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def token_text(config: dict[str, Any], name: str) -> str:
    """A special token's text, which configs write as a string or as an object; empty if there is none."""
    value = config.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _has_kind(described: dict[str, Any] | None, *kinds: str) -> bool:
    """Whether a tokenizer.json component, or one of those it chains, is of one of these kinds."""
    if not described:
        return False
    inner = described.get("decoders") or []
    return described.get("type") in kinds or any(_has_kind(one, *kinds) for one in inner)


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes, as character → byte (openai/gpt-2, encoder.py)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    alphabet = {chr(byte): byte for byte in printable}
    spare = 256
    for byte in range(256):
        if byte not in alphabet.values():
            alphabet[chr(spare)] = byte
            spare += 1
    return alphabet
