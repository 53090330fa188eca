"""How long prompts may be, and how long ones are read: in windows, one after the other, as AUTOMATIC1111's web UI does.

CLIP reads 75 tokens. Stable Diffusion and SDXL are told the vectors of all windows side by side; in Stable Diffusion 3
and Flux T5 reads the whole prompt, so CLIP's part may be cut off. Prompts of one window go the pipeline's own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from quintet.core.errors import InvalidRequest
from quintet.engines.image.families import FLUX, SD3, SDXL, STABLE_DIFFUSION, Family

WINDOW = 75
"""Tokens that CLIP reads beside the mark at the start and the one at the end."""
_WINDOWS = 16
_T5_TOKENS, _DISTILLED_T5_TOKENS = 512, 256
"""Most tokens that T5 may have, and what Flux [schnell] was distilled with."""
_SD3_T5_TOKENS = 256
"""Stable Diffusion 3 reads so many unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a picture is to show, and what not; the family takes all that is filled."""

    prompt: str
    second: str = ""
    negative: str = ""
    second_negative: str = ""

    def of_second_encoder(self) -> Words:
        """For a model that has only the second encoder, such as SDXL's refiner."""
        return Words(prompt=self.second or self.prompt, negative=self.second_negative or self.negative)

    def named(self) -> list[tuple[str, str]]:
        """Each text with its name for error messages."""
        return [
            ("prompt", self.prompt),
            ("prompt_2", self.second),
            ("negative_prompt", self.negative),
            ("negative_prompt_2", self.second_negative),
        ]


class Reader:
    """The tokenisers of one model; `check` is thread-safe, `embeddings` belongs to the painting thread."""

    def __init__(self, pipeline: Any, family: Family) -> None:
        self._is_clip = family.kind in (STABLE_DIFFUSION, SDXL)
        self._is_xl, self._is_sd3 = family.kind is SDXL, family.kind is SD3
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        found = [part for name in names if (part := getattr(pipeline, name, None)) is not None]
        self._tokenizers = found if self._is_clip else found[-1:]
        # Copies, because the pipeline's own change while it reads.
        self._counters = [_plain(tokenizer) for tokenizer in self._tokenizers]
        self.longest = WINDOW * _WINDOWS if self._is_clip else _t5_tokens(family)

    def check(self, words: Words) -> None:
        """Raise InvalidRequest for a text that is longer than the model can read."""
        for name, text in words.named():
            count = self._count(text)
            if count > self.longest:
                raise InvalidRequest(
                    f"`{name}` has {count} tokens, and this model reads {self.longest}; make it shorter.",
                    param=name,
                    facts={"tokens": count, "max_tokens": self.longest},
                )

    def sequence(self, words: Words) -> dict[str, int]:
        """What a pipeline is told of how far T5 reads, where that isn't what it does anyway."""
        if self.longest == _DISTILLED_T5_TOKENS:
            return {"max_sequence_length": self.longest}
        is_long = any(self._count(text) >= _SD3_T5_TOKENS for _, text in words.named())
        return {"max_sequence_length": self.longest} if self._is_sd3 and is_long else {}

    def embeddings(self, pipeline: Any, words: Words) -> dict[str, torch.Tensor]:
        """Arguments that stand for texts of more than one window; none if all are short or T5 reads them."""
        if not self._is_clip:
            return {}
        pairs = [(words.prompt, words.negative)]
        if len(self._tokenizers) == 2:
            pairs.append((words.second or words.prompt, words.second_negative or words.negative))
        ids = [
            [counter.encode(text, add_special_tokens=False).ids for text in pair]
            for counter, pair in zip(self._counters, pairs, strict=True)
        ]
        windows = max(-(-len(one) // WINDOW) for pair in ids for one in pair)
        if windows < 2:
            return {}
        parts = (getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2"))
        encoders = [part for part in parts if part is not None]
        texts = []
        for which in range(2):
            read = [
                _read(encoder, tokenizer, pair[which], windows, before_last=self._is_xl)
                for encoder, tokenizer, pair in zip(encoders, self._tokenizers, ids, strict=True)
            ]
            texts.append((torch.cat([hidden for hidden, _ in read], -1), read[-1][1]))
        (positive, pooled), (negative, negative_pooled) = texts
        if not self._is_xl:
            return {"prompt_embeds": positive, "negative_prompt_embeds": negative}
        if pipeline.config.force_zeros_for_empty_prompt and not (words.negative or words.second_negative):
            negative, negative_pooled = torch.zeros_like(negative), torch.zeros_like(negative_pooled)
        return {
            "prompt_embeds": positive,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": negative,
            "negative_pooled_prompt_embeds": negative_pooled,
        }

    def _count(self, text: str) -> int:
        return len(self._counters[-1].encode(text, add_special_tokens=False).ids)


def _t5_tokens(family: Family) -> int:
    return _DISTILLED_T5_TOKENS if family.kind is FLUX and not family.guidance else _T5_TOKENS


def _plain(tokenizer: Any) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _read(
    encoder: Any, tokenizer: Any, ids: Sequence[int], windows: int, *, before_last: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What CLIP makes of a text: vectors [1, windows · 77, width], and one vector [1, width'] of its first window.

    SDXL takes them from the layer `before_last`.
    """
    parts = [list(ids[start : start + WINDOW]) for start in range(0, windows * WINDOW, WINDOW)]
    rows = [[tokenizer.bos_token_id, *part, tokenizer.eos_token_id] for part in parts]
    padded = [row + [tokenizer.pad_token_id] * (WINDOW + 2 - len(row)) for row in rows]
    with torch.no_grad():
        found = encoder(torch.tensor(padded, device=encoder.device), output_hidden_states=True)
    hidden = found.hidden_states[-2] if before_last else found[0]
    return hidden.reshape(1, -1, hidden.shape[-1]), found[0][:1]
