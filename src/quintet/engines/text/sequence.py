"""One sequence of tokens on its way through the engine, and the request it belongs to."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Listed
from dataclasses import dataclass, field

import numpy as np

from quintet.core.events import FinishReason, PromptToken, Token, ToolCallPart
from quintet.core.requests import TextRequest
from quintet.engines.text.adapters import Adapter
from quintet.engines.text.blocks import chain
from quintet.engines.text.detokenize import Detokenizer
from quintet.engines.text.grammar import Blueprint, Guide
from quintet.engines.text.pictures import Placed
from quintet.engines.text.tools import CallReader
from quintet.engines.text.vision.family import Positions


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of a request: its tokens, how many of them the model has read, and the blocks that hold them."""

    owner: str
    tokens: list[int]
    """Prompt and answer so far."""
    prompt_length: int
    choice: int = 0
    adapter: str = ""
    """Digest of its adapter: keys and values made with one are of no use without it."""
    arrival: int = 0
    """Order of arrival; FCFS within an owner, and the youngest is preempted first."""
    computed: int = 0
    """How many of `tokens` have their keys and values in the cache."""
    cached: int = 0
    """How many of the prompt's tokens were reused from the prefix cache when it was first admitted."""
    blocks: array[int] = field(default_factory=lambda: array("i"))
    digests: list[bytes] = field(default_factory=list)
    pictures: Listed[Placed] = ()
    """The pictures in its prompt."""
    positions: Positions | None = None
    """Positions [axes, prompt] of its prompt, where a token's position is more than its index."""
    wants_prompt_rows: bool = False
    """Needs the model's output at every prompt position, so no prefix may be skipped."""
    awaits: bytes = b""
    """Digest of the block that another sequence is reading for both of them."""
    counted: int = 0
    """How many of `tokens` were counted as served to the owner."""
    admitted: bool = False

    @property
    def salt(self) -> str:
        """What must be equal for two sequences to share a prefix beside its tokens."""
        return f"{self.owner}\0{self.adapter}" if self.adapter else self.owner

    def chain(self, block_size: int, length: int | None = None) -> None:
        """Know the digests of all full blocks among its first `length` tokens; None = all."""
        chain(self.salt, self.tokens[:length], block_size, self.digests, self.pictures)

    def places(self, past: int, count: int) -> Positions | None:
        """Positions [axes, count] of tokens [past, past + count); None where they are just counted."""
        if self.positions is None:
            return None
        known = self.positions[:, past : past + count]
        first = max(past, self.prompt_length)
        # An answer is counted on from the largest position of the prompt, alike on all axes.
        gap = int(self.positions.max()) + 1 - self.prompt_length
        counted = np.arange(first, past + count) + gap
        return np.concatenate([known, np.broadcast_to(counted, (len(known), len(counted)))], axis=1)

    @property
    def pending(self) -> int:
        """Tokens the model has not read yet; 1 = ordinary decoding."""
        return len(self.tokens) - self.computed


@dataclass(slots=True, eq=False)
class Answer:
    """What the engine keeps about one choice beside its tokens."""

    sequence: Sequence
    detokenizer: Detokenizer
    random: np.random.Generator | None = None
    """One stream of uniform numbers per choice: the seed alone decides them."""
    sum_logprob: float = 0.0
    judged: bool = False
    """Whether its tokens' log-probabilities are known."""
    generated: int = 0
    reason: FinishReason | None = None
    held: list[Token | ToolCallPart] = field(default_factory=list)
    """Tokens and calls kept back until best_of is decided."""
    calls: CallReader | None = None
    """Finds tool calls in the text; None if there are no tools."""
    penalized: Penalized | None = None
    guide: Guide | None = None
    """Says which tokens fit the grammar; None if there is none."""


@dataclass(slots=True, eq=False)
class Job:
    """One request inside the engine."""

    id: int
    request: TextRequest
    prompt: list[int]
    max_new_tokens: int
    seed: int
    adapter: Adapter | None = None
    blueprint: Blueprint | None = None
    """What all answers must look like."""
    pictures: Listed[Placed] = ()
    positions: Positions | None = None
    answers: list[Answer] = field(default_factory=list)
    arrived_at: float = 0.0
    started_at: float | None = None
    first_token_at: float | None = None
    prompt_rows: list[PromptToken] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every choice has ended."""
        return all(answer.reason is not None for answer in self.answers)

    @property
    def ranks(self) -> bool:
        """Whether answers are held back to choose the best ones."""
        return self.request.best_of > self.request.n


class Penalized:
    """The distinct tokens of one sequence and how often each was generated, as growing arrays.

    `ids[:count]` are distinct token ids (i64); `generated[:count]` how often each stands in the answer (f32; 0 =
    only in the prompt).
    """

    __slots__ = ("_slot", "count", "generated", "ids")

    def __init__(self, prompt: list[int], capacity: int) -> None:
        """Starts with the prompt's distinct tokens; `capacity` bounds the answer's length in tokens."""
        distinct = list(dict.fromkeys(prompt))
        self.count = len(distinct)
        self.ids = np.zeros(self.count + capacity, np.int64)
        self.ids[: self.count] = distinct
        self.generated = np.zeros(self.count + capacity, np.float32)
        self._slot = {token: slot for slot, token in enumerate(distinct)}

    def add(self, token: int) -> None:
        """Count one generated token."""
        slot = self._slot.get(token)
        if slot is None:
            slot = self._slot[token] = self.count
            if slot == len(self.ids):
                self.ids = np.concatenate([self.ids, np.zeros(slot + 64, np.int64)])
                self.generated = np.concatenate([self.generated, np.zeros(slot + 64, np.float32)])
            self.ids[slot] = token
            self.count += 1
        self.generated[slot] += 1
