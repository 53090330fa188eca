"""Bodies of /v1/chat/completions and /v1/completions, with the fields of OpenAI, VisionCraft and Krutrim."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from quintet.dialects.conversation import Conversation, FunctionName
from quintet.dialects.validation import WireModel

MAX_CHOICES = 8
MAX_PROMPTS = 4
MAX_PROMPT_IDS = 262_144
MAX_STOPS = 4
MAX_BIASES = 300

StopText = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_IDS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


def _stop_tag(value: object) -> str:
    return "(list)" if isinstance(value, list) else "(text)"


Stop = Annotated[
    Annotated[StopText, Tag("(text)")]
    | Annotated[list[StopText], Field(max_length=MAX_STOPS), Tag("(list)")],
    Discriminator(_stop_tag),
]


def inputs_tag(value: object) -> str:
    """Which of the four forms an input has: one text, many, the ids of one, or of many."""
    if not isinstance(value, list):
        return "(text)"
    first = value[0] if value else ""
    if isinstance(first, list):
        return "(many ids)"
    return "(ids)" if isinstance(first, int) and not isinstance(first, bool) else "(many texts)"


Prompt = Annotated[
    Annotated[str, Tag("(text)")]
    | Annotated[TokenIds, Tag("(ids)")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS), Tag("(many texts)")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS), Tag("(many ids)")],
    Discriminator(inputs_tag),
]


class StreamOptions(WireModel):
    """What a stream says beside the text."""

    include_usage: bool | None = None


class NamedSchema(WireModel):
    """A JSON schema with OpenAI's frame; it is always enforced, strict or not."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: str | None = None
    content: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(WireModel):
    """The shape of the answer: OpenAI's forms, and `value` as in text-generation's grammars."""

    type: Annotated[str, Field(max_length=64)]
    json_schema: NamedSchema | None = None
    value: Any = None


class FunctionTool(WireModel):
    """The function a tool stands for; `parameters` is a JSON schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(WireModel):
    """One tool the model might call."""

    type: Annotated[str, Field(max_length=64)] = "function"
    function: FunctionTool


class NamedFunction(WireModel):
    """The name of a function."""

    name: FunctionName


class NamedTool(WireModel):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


def _choice_tag(value: object) -> str:
    return "(tool)" if isinstance(value, dict) else "(word)"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(word)")] | Annotated[NamedTool, Tag("(tool)")],
    Discriminator(_choice_tag),
]


class GenerationBody(WireModel):
    """What both routes have in common. Every optional field may also be null."""

    model: Annotated[str, Field(max_length=256)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=99_999)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=5)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASES)] | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**64 - 1)] | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    skip_special_tokens: bool | None = None
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None


class ChatBody(GenerationBody):
    """POST /v1/chat/completions."""

    messages: Conversation
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=50)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: Annotated[list[str], Field(max_length=8)] | None = None


class CompletionBody(GenerationBody):
    """POST /v1/completions."""

    prompt: Prompt
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=50)] | None = None
    echo: bool | None = None
    suffix: str | None = None
