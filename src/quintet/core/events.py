"""What engines answer: one small grammar for all modalities, and its only fold.

Grammar: any number of `Prefill`, `Token`, `ToolCallPart`, `Stopped`, `Tokenized`, `Embedding`, `Progress`, `Media`,
`Segment`, then exactly one `Finished`. A failure is an exception, never an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from quintet.core.content import ToolCall

FinishReason = Literal["stop", "eos", "length", "tool_calls"]
"""Why a choice ended: a stop string, the model's end-of-sequence token, a length limit, or to have tools called."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One likely token at a position: its id, its exact bytes (maybe half a character), natural-log probability."""

    id: int
    raw: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token of one choice.

    `text` is what became readable with it: never half a character, empty while bytes are still missing.
    `raw` (exact bytes), `logprob` and `top` are filled only as far as `Detail` asked for them.
    """

    choice: int
    id: int
    text: str
    special: bool = False
    logprob: float | None = None
    raw: bytes = b""
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A piece of a tool call of one choice. The first piece of a call has `id` and `name`, the others add `arguments`.

    `index` numbers the calls of a choice from 0. The tokens that spell a call still come as `Token`s, with empty text.
    """

    choice: int
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of the prompt; the first one has no log-probability."""

    id: int
    text: str
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt as the model read it; sent only if `Detail.prefill` asked for it, before the first `Token`."""

    tokens: tuple[PromptToken, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """One choice ended; no more tokens of it follow. `mean_logprob` ranks choices for best_of."""

    choice: int
    reason: FinishReason
    mean_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One token and the characters [start, end) of the text it covers."""

    id: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The answer to a `TokenizeRequest`: the tokens, and the text they were made from."""

    tokens: tuple[TokenSpan, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of the `index`-th input: little-endian float32, unit length."""

    index: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: `done` of `total` units of `stage` ("load", "queue", "denoise", "transcribe", …)."""

    stage: str
    done: float
    total: float
    preview: bytes = b""
    """A small encoded picture, if the engine makes one."""


@dataclass(frozen=True, slots=True)
class Media:
    """One finished file: a picture, an animation. `text` holds what the file's own metadata says (seed, sampler)."""

    mime: str
    data: bytes
    text: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken word; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of speech; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    language: str = ""
    average_logprob: float = 0.0
    no_speech_probability: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was delivered, in units of every modality; only what applies is non-zero."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose KV cache was reused."""
    completion_tokens: int = 0
    images: int = 0
    pixel_steps: int = 0
    frames: int = 0
    audio_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time went inside the engine, in seconds."""

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The request is done; always the last event."""

    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    seed: int | None = None
    """The seed that reproduces the answer; None if nothing was drawn at random."""


Event = (
    Prefill | Token | ToolCallPart | Stopped | Tokenized | Embedding | Progress | Media | Segment | Finished
)


@dataclass(slots=True)
class Choice:
    """One whole answer, folded from its tokens."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = "stop"
    mean_logprob: float | None = None


@dataclass(slots=True)
class Outcome:
    """All that a request produced; what a dialect renders when the caller did not ask for a stream."""

    choices: list[Choice] = field(default_factory=list)
    prefill: tuple[PromptToken, ...] = ()
    tokenized: Tokenized | None = None
    embeddings: list[Embedding] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    finished: Finished = field(default_factory=Finished)

    def add(self, event: Event) -> None:
        """Fold one more event in."""
        match event:
            case Token():
                choice = self.choice(event.choice)
                choice.text += event.text
                choice.tokens.append(event)
            case ToolCallPart():
                add_part(self.choice(event.choice).tool_calls, event)
            case Stopped():
                choice = self.choice(event.choice)
                choice.reason, choice.mean_logprob = event.reason, event.mean_logprob
            case Finished():
                self.finished = event
            case Media():
                self.media.append(event)
            case Segment():
                self.segments.append(event)
            case Embedding():
                self.embeddings.append(event)
            case Prefill():
                self.prefill = event.tokens
            case Tokenized():
                self.tokenized = event
            case Progress():
                pass

    def choice(self, index: int) -> Choice:
        """The choice with this index, made when first seen."""
        while len(self.choices) <= index:
            self.choices.append(Choice())
        return self.choices[index]


def add_part(calls: list[ToolCall], part: ToolCallPart) -> None:
    """Fold one more piece of a tool call into the calls of its choice."""
    if part.index == len(calls):
        calls.append(ToolCall(part.id, part.name, part.arguments))
    else:
        call = calls[part.index]
        calls[part.index] = replace(call, arguments=call.arguments + part.arguments)


def collect(events: Iterable[Event]) -> Outcome:
    """Fold a finished sequence of events into one outcome."""
    outcome = Outcome()
    for event in events:
        outcome.add(event)
    return outcome
