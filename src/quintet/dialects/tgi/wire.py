"""Bodies of /generate and its relatives. Unknown keys are refused; every key that some TGI release knows is listed.

Ranges that TGI words in its own way are checked in parse.py, so that the texts match.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from quintet.dialects.conversation import Conversation
from quintet.dialects.validation import WireModel

StopText = Annotated[str, Field(min_length=1, max_length=256)]


class GrammarBody(WireModel):
    """What the answer must look like."""

    type: Annotated[str, Field(max_length=64)]
    value: Any = None


class Parameters(WireModel):
    """How to generate. Every field may also be null."""

    model_config = ConfigDict(extra="forbid")

    adapter_id: Annotated[str, Field(max_length=96)] | None = None
    best_of: int | None = None
    decoder_input_details: bool | None = None
    details: bool | None = None
    do_sample: bool | None = None
    frequency_penalty: float | None = None
    grammar: GrammarBody | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    stop: list[StopText] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_n_tokens: int | None = None
    top_p: float | None = None
    truncate: int | None = None
    typical_p: float | None = None
    watermark: bool | None = None


class GenerateBody(WireModel):
    """POST /generate, /generate_stream, /tokenize and their aliases."""

    model_config = ConfigDict(extra="forbid")

    inputs: str
    parameters: Parameters | None = None
    stream: bool | None = None
    add_special_tokens: bool | None = None
    options: dict[str, Any] | None = None


class ChatTokenizeBody(WireModel):
    """POST /chat_tokenize: a chat completion's body, of which only the conversation counts."""

    messages: Conversation
    model: Annotated[str, Field(max_length=256)] | None = None
