"""The domain requests: what a dialect's `parse` makes of a wire body, and all that an engine gets to know.

Values here are already validated by the dialect that built them; engines may still refuse what only
they can judge (a prompt longer than the context, a token id outside the vocabulary).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from quintet.core.content import Audio, Image, Message, Part
from quintet.core.models import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Defaults are neutral: plain sampling from the model's distribution.

    Ranges: temperature >= 0 (0 = greedy); top_k >= 0 (0 = off); 0 < top_p, typical_p <= 1 (1 = off);
    0 <= min_p <= 1 (0 = off); repetition_penalty > 0 (1 = off, CTRL paper, arXiv:1909.05858);
    presence and frequency penalties as in OpenAI's API (0 = off), counted over generated tokens.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    """Fixes the answer whatever else is in the batch; None = the engine draws one and reports it."""
    given: frozenset[str] | None = field(default=None, compare=False)
    """Which of these the caller set; the model's own defaults apply to the others. None = the values stand as they
    are, as from a dialect with defaults of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When generation ends. Lengths are in tokens."""

    max_new_tokens: int | None = None
    """None = until the end of the context."""
    fit: bool = False
    """Where prompt and answer don't fit into the context together, the answer is cut instead of refused."""
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    """True keeps the stop string at the end of the text (TGI); False cuts it off (OpenAI)."""
    ignore_eos: bool = False
    """Benchmarks only: goes on after end-of-sequence."""
    truncate: int | None = None
    """Keep only the last so many tokens of the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What the caller wants to know beside the text; every field costs work, so all default to no."""

    logprobs: bool = False
    """Log-probability of every generated token."""
    top_logprobs: int = 0
    """0–50 most likely alternatives of every generated token."""
    prefill: bool = False
    """Log-probability of every prompt token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What the text must look like: any JSON object, JSON of a schema, or a match of a regular expression."""

    kind: Literal["json_object", "json_schema", "regex"]
    text: str = ""
    """The schema as JSON text, or the regular expression; empty for json_object."""
    param: str = "response_format"
    """Where it stood in the caller's body, for error messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask to be called; `parameters` is its JSON schema as text."""

    name: str
    description: str = ""
    parameters: str = "{}"
    strict: bool = False
    """Arguments must match the schema exactly, so they are generated under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """Which tools there are for this request, and whether one must be used."""

    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "required", "none"] = "auto"
    """auto = the model decides; required = at least one call of these tools (a caller who names a function gets
    a list of that one); none = the model must not call any, so it need not even see them."""
    parallel: bool = True
    """Whether one answer may hold several calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """Text out of text and pictures. Exactly one of `messages` and `prompt` is given."""

    model: str
    messages: tuple[Message, ...] = ()
    """A conversation; the engine applies the model's chat template."""
    prompt: tuple[str | Image, ...] = ()
    """A raw prompt, sent to the model as it is (special tokens in it count as such)."""
    prompt_ids: tuple[int, ...] = ()
    """A raw prompt already in token ids; used instead of `prompt`."""
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    detail: Detail = field(default_factory=Detail)
    grammar: Grammar | None = None
    tool_use: ToolUse | None = None
    adapter: str = ""
    """A text LoRA of this model, by name; empty = the model as it is."""
    n: int = 1
    """How many choices to return."""
    best_of: int = 1
    """How many to generate; the `n` with the best mean log-probability come back. >= n."""
    skip_special_tokens: bool = True
    owner: str = ""
    """Who asks: set by the service; salts the prefix cache and is the unit of fairness."""

    @property
    def pictures(self) -> list[Image]:
        """All its pictures in the order of the prompt."""
        places = (*(message.parts for message in self.messages), self.prompt)
        return [part for parts in places for part in parts if isinstance(part, Image)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeRequest:
    """The tokens of a prompt or of a rendered conversation, without generating."""

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    add_special_tokens: bool = True
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """One vector per input. Exactly one of `texts` and `ids` is given."""

    model: str
    texts: tuple[str, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    """Inputs already in token ids."""
    dimensions: int | None = None
    """Keep only the first so many numbers of each vector, normalised again."""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A low-rank adapter by its catalog name, and how strongly it applies (0 = not at all)."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Pictures out of words, and optionally out of another picture. Sizes in pixels."""

    model: str
    prompts: tuple[str, ...]
    second_prompts: tuple[str, ...] = ()
    """For models with two text encoders (SDXL); empty = the same as `prompts`."""
    negative_prompts: tuple[str, ...] = ()
    second_negative_prompts: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    seed: int | None = None
    images_per_prompt: int = 1
    """Picture k of all is drawn with seed + k."""
    loras: tuple[Lora, ...] = ()
    source: Image | None = None
    """Image-to-image starts from this picture."""
    mask: Image | None = None
    """Where the source may change; of any size, it is scaled to the source's."""
    strength: float = 0.75
    """0–1: how far image-to-image may leave its source."""
    refiner: str | None = None
    """A second model that goes over the result, by its name; "" = none; None = what the model's catalog entry says."""
    enlarge: bool | None = None
    """Above the model's native size: draw at that size, enlarge and refine ("hires fix"). None = as the entry says."""
    with_metadata: bool = True
    """Write prompt, seed, sampler, steps and model into the file."""
    previews: bool = False
    """Send small pictures of the state with the progress."""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimationRequest:
    """A short moving picture out of words. Sizes in pixels."""

    model: str
    prompt: str
    negative_prompt: str = ""
    frames: int | None = None
    frames_per_second: float | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    seed: int | None = None
    loras: tuple[Lora, ...] = ()
    format: Literal["gif", "webp", "mp4", "frames"] = "gif"
    """What comes out: one file, or one PNG per frame."""
    with_metadata: bool = True
    previews: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleRequest:
    """The same picture with more pixels."""

    model: str
    picture: Image
    scale: float | None = None
    """How much longer each side becomes; None = what the model was made for."""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionRequest:
    """Words out of a recording, in its own language or translated to English."""

    model: str
    audio: Audio
    task: str = "transcribe"
    """"transcribe" or "translate"."""
    language: str | None = None
    """ISO 639-1 code; None = detect."""
    temperature: float = 0.0
    prompt: str = ""
    word_timestamps: bool = False
    voice_filter: bool = False
    owner: str = ""


Request = (
    TextRequest
    | TokenizeRequest
    | EmbeddingRequest
    | ImageRequest
    | AnimationRequest
    | UpscaleRequest
    | TranscriptionRequest
)
"""All that a backend can be asked to do."""

TASKS: dict[type[Request], tuple[Task, ...]] = {
    TextRequest: ("text", "vision"),
    TokenizeRequest: ("text", "vision"),
    EmbeddingRequest: ("embedding",),
    ImageRequest: ("image",),
    AnimationRequest: ("animation",),
    UpscaleRequest: ("upscale",),
    TranscriptionRequest: ("speech",),
}
"""Which models can do what."""


def pictures_of(request: Request) -> list[Image]:
    """All pictures that came with a request, in order."""
    match request:
        case TextRequest():
            return request.pictures
        case ImageRequest():
            return [picture for picture in (request.source, request.mask) if picture is not None]
        case UpscaleRequest():
            return [request.picture]
    return []


def with_pictures(request: Request, pictures: Sequence[Image]) -> Request:
    """The request with these in the places of its own pictures, in the order of `pictures_of`."""
    anew = iter(pictures)

    def replaced(parts: Sequence[Part]) -> tuple[Part, ...]:
        return tuple(next(anew) if isinstance(part, Image) else part for part in parts)

    match request:
        case TextRequest():
            messages = tuple(replace(message, parts=replaced(message.parts)) for message in request.messages)
            return replace(request, messages=messages, prompt=replaced(request.prompt))
        case ImageRequest():
            source = None if request.source is None else next(anew)
            return replace(request, source=source, mask=None if request.mask is None else next(anew))
        case UpscaleRequest():
            return replace(request, picture=next(anew))
    return request
