"""From a request to token ids, and the checks that need the model's numbers.

Thread-safe, and kept off the stepping thread: texts that are slow to read delay nobody's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from quintet.core.errors import ContextTooLong, InvalidRequest, LoadFailed, Unsupported
from quintet.core.requests import EmbeddingRequest, Request
from quintet.engines.embed.files import read_json

MAX_TOKENIZER_BYTES = 100 * 1024 * 1024
MAX_REQUEST_TOKENS = 300_000
"""Of all inputs of one request, as in OpenAI's API: a minute or so of work, not an hour."""
CHARACTERS_PER_TOKEN = 64
"""No text that means something has longer tokens on average; what is longer is refused before it is read."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A request and its inputs' ids, ready to be batched."""

    request: EmbeddingRequest
    ids: Sequence[Sequence[int]]


class Reader:
    """Turns requests into inputs within the limits of one model."""

    def __init__(
        self, directory: Path, *, model: str, vocabulary_size: int, max_input_tokens: int, dimensions: int
    ) -> None:
        """Reads tokenizer.json; raises LoadFailed if it is missing, too large or broken."""
        self._tokenizer = _load_tokenizer(directory / "tokenizer.json")
        described = read_json(directory / "sentence_bert_config.json")
        self._lowers = isinstance(described, dict) and described.get("do_lower_case") is True
        self._model = model
        self._vocabulary_size = vocabulary_size
        self._max_input_tokens = max_input_tokens
        self._dimensions = dimensions

    def prepare(self, request: Request) -> Inputs:
        """The inputs of an embedding request; raises InvalidRequest."""
        if not isinstance(request, EmbeddingRequest):
            raise Unsupported(
                f"model `{self._model}` makes vectors only; ask GET /v1/models for one that does this."
            )
        if request.dimensions is not None and not 1 <= request.dimensions <= self._dimensions:
            raise InvalidRequest(
                f"`dimensions` must be from 1 to {self._dimensions} for model `{self._model}`.",
                param="dimensions",
            )
        ids: Sequence[Sequence[int]] = request.ids or self._encode(request.texts)
        if not ids:
            raise InvalidRequest("`input` cannot be empty; send at least one text.", param="input")
        for index, one in enumerate(ids):
            self._check(one, _name(index, ids), was_text=not request.ids)
        total = sum(len(one) for one in ids)
        if total > MAX_REQUEST_TOKENS:
            raise InvalidRequest(
                f"`input` may have at most {MAX_REQUEST_TOKENS} tokens in all, but has {total}; "
                "send it in several requests.",
                param="input",
                code="max_tokens_per_request",
            )
        return Inputs(request, ids)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        most = self._max_input_tokens * CHARACTERS_PER_TOKEN
        for index, text in enumerate(texts):
            if len(text) > most:
                raise ContextTooLong(
                    f"`{_name(index, texts)}` has {len(text)} characters, but model `{self._model}` takes at most "
                    f"{self._max_input_tokens} tokens, and no more than {most} characters; shorten it.",
                    param="input",
                )
        if self._lowers:
            texts = [text.lower() for text in texts]
        # The batch calls of tokenizers give up the interpreter's lock, so the stepping thread goes on.
        read = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)
        return [encoding.ids for encoding in read]

    def _check(self, ids: Sequence[int], name: str, *, was_text: bool) -> None:
        """Ids outside the vocabulary, or too many of them, would reach beyond the model's tables."""
        most, size = self._max_input_tokens, self._vocabulary_size
        if not ids:
            raise InvalidRequest(f"`{name}` has no token; send some text.", param="input")
        if len(ids) > most:
            raise ContextTooLong(
                f"`{name}` may have at most {most} tokens for model `{self._model}`, but has {len(ids)}; shorten it.",
                param="input",
                facts={"prompt_tokens": len(ids), "max_prompt_tokens": most},
            )
        if min(ids) < 0 or max(ids) >= size:
            if was_text:
                raise InvalidRequest(
                    f"`{name}` has a token that the tokenizer knows but the model doesn't; send other text.",
                    param="input",
                )
            raise InvalidRequest(f"`{name}`: token ids must be from 0 to {size - 1}.", param="input")


def _name(index: int, inputs: Sequence[object]) -> str:
    """How the caller knows an input."""
    return "input" if len(inputs) == 1 else f"input[{index}]"


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise LoadFailed("the model directory has no tokenizer.json; pull or convert the model again.")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise LoadFailed("tokenizer.json is larger than 100 MB, which no known model needs.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # tokenizers raises nothing more special
        raise LoadFailed("tokenizer.json can't be read; pull or convert the model again.") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
