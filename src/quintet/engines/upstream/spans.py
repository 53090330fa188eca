"""Tokens of a text as llama.cpp and vLLM tell them. Pure."""

from __future__ import annotations

from typing import Any

from quintet.core.events import Event, Finished, Tokenized, TokenSpan, Usage
from quintet.core.requests import TokenizeRequest
from quintet.engines.upstream.sse import malformed

_BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
_SPELLED = {chr(byte): byte for byte in _BYTES} | {
    chr(256 + place): byte for place, byte in enumerate(byte for byte in range(256) if byte not in _BYTES)
}
"""Byte-level vocabularies spell every byte as a character."""


def tokenize_body(request: TokenizeRequest, text: str, *, is_llama: bool, model: str) -> dict[str, Any]:
    """What to send to /tokenize."""
    if is_llama:
        return {
            "content": text,
            "add_special": request.add_special_tokens,
            "parse_special": True,
            "with_pieces": True,
        }
    return {
        "model": model,
        "prompt": text,
        "add_special_tokens": request.add_special_tokens,
        "return_token_strs": True,
    }


def read_tokens(answer: dict[str, Any], text: str) -> list[Event]:
    """The events of an answer of either server; raises EngineFailed if it makes no sense."""
    tokens, names = answer.get("tokens"), answer.get("token_strs")
    if not isinstance(tokens, list):
        raise malformed()
    found: list[tuple[int, bytes]] = []
    for place, token in enumerate(tokens):
        if isinstance(token, dict):
            found.append((token.get("id", -1), _piece(token.get("piece"))))
        else:
            has_name = isinstance(names, list) and len(names) == len(tokens)
            found.append((token, _spelled(names[place]) if has_name and names else b""))
    if any(type(number) is not int or number < 0 for number, _ in found):
        raise malformed()
    spans = _spans(found, text)
    return [Tokenized(tuple(spans), text), Finished(usage=Usage(prompt_tokens=len(spans)))]


def _spans(tokens: list[tuple[int, bytes]], text: str) -> list[TokenSpan]:
    """Each token where it stands in the text; one that doesn't stand there (a mark of the beginning) is empty."""
    data, place, characters = text.encode(errors="replace"), 0, 0
    spans = []
    for number, piece in tokens:
        start = place
        if piece and data.startswith(piece, place):
            place += len(piece)
        elif (bare := piece.lstrip(b" ")) != piece and data.startswith(bare, place):
            place += len(bare)  # a tokenizer that puts a space before everything
        first = characters
        # A character counts with its first byte; tokens that hold only the rest of one are empty.
        characters += sum(byte & 0xC0 != 0x80 for byte in data[start:place])
        spans.append(TokenSpan(number, piece.decode(errors="replace"), first, characters))
    return spans


def _piece(piece: object) -> bytes:
    """llama.cpp sends text, or a list of bytes where it is none."""
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, list) and all(type(byte) is int and 0 <= byte < 256 for byte in piece):
        return bytes(piece)
    raise malformed()


def _spelled(name: object) -> bytes:
    """A token as its vocabulary spells it."""
    if not isinstance(name, str):
        raise malformed()
    if "\u2581" in name:
        return name.replace("\u2581", " ").encode()
    if all(letter in _SPELLED for letter in name):
        return bytes(_SPELLED[letter] for letter in name)
    return name.encode()
