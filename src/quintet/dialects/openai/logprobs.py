"""Log-probabilities in the two forms that OpenAI's routes have."""

from __future__ import annotations

from typing import Any

from quintet.core.events import Alternative, FinishReason, Token

REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}
_FLOOR = -9999.0
"""JSON has no minus infinity; OpenAI's API writes this instead."""


def readable(raw: bytes) -> str:
    """A token's own text; bytes that are only a part of a character are spelled out, as OpenAI's API does."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def bounded(logprob: float | None) -> float | None:
    """A log-probability that JSON can say."""
    return None if logprob is None else max(logprob, _FLOOR)


def chat_entry(token: Token) -> dict[str, Any]:
    """One generated token in `choices[].logprobs.content`."""
    raw = token.raw or token.text.encode()
    return {
        "token": readable(raw),
        "logprob": bounded(token.logprob),
        "bytes": list(raw),
        "top_logprobs": [_chat_alternative(alternative) for alternative in token.top],
    }


def _chat_alternative(alternative: Alternative) -> dict[str, Any]:
    return {
        "token": readable(alternative.raw),
        "logprob": bounded(alternative.logprob),
        "bytes": list(alternative.raw),
    }


class CompletionLogprobs:
    """The `logprobs` object of /v1/completions, filled token by token; offsets count characters of the answer."""

    def __init__(self, offset: int = 0) -> None:
        """`offset` is where the next token starts in the answer's text."""
        self.offset = offset
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[str] = []
        self._logprobs: list[float | None] = []
        self._top: list[dict[str, float | None]] = []
        self._offsets: list[int] = []

    def add_prompt(self, text: str, logprob: float | None) -> None:
        """One token of an echoed prompt."""
        self._add(text, bounded(logprob), {}, len(text))

    def add(self, token: Token) -> None:
        """One generated token."""
        top = {readable(other.raw): bounded(other.logprob) for other in token.top}
        self._add(readable(token.raw or token.text.encode()), bounded(token.logprob), top, len(token.text))

    def _add(self, text: str, logprob: float | None, top: dict[str, float | None], length: int) -> None:
        self._tokens.append(text)
        self._logprobs.append(logprob)
        self._top.append(top)
        self._offsets.append(self.offset)
        self.offset += length

    def take(self) -> dict[str, Any]:
        """What was added since the last call."""
        taken = {
            "tokens": self._tokens,
            "token_logprobs": self._logprobs,
            "top_logprobs": self._top,
            "text_offset": self._offsets,
        }
        self._clear()
        return taken
