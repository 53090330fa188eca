"""POST /v1/embeddings: what its body means, and how vectors are written."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from quintet.core.errors import ContextTooLong, QuintetError
from quintet.core.events import Embedding, Event, Outcome
from quintet.core.requests import EmbeddingRequest
from quintet.dialects import sse
from quintet.dialects.base import Call, Incoming, Reply
from quintet.dialects.conversation import check_length
from quintet.dialects.errors import error_object
from quintet.dialects.openai.fields import refuse_fields
from quintet.dialects.openai.parse import model_name
from quintet.dialects.openai.wire import TokenId, inputs_tag
from quintet.dialects.validation import WireModel, check

MAX_INPUTS = 2048
MAX_IDS = 300_000
"""Of all inputs together, as in OpenAI's API."""
MAX_DIMENSIONS = 65_536
"""More than any model has; the engine knows how many its model has."""

Format = Literal["float", "base64"]
InputText = Annotated[str, Field(min_length=1)]
InputIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_IDS)]


Input = Annotated[
    Annotated[InputText, Tag("(text)")]
    | Annotated[InputIds, Tag("(ids)")]
    | Annotated[list[InputText], Field(min_length=1, max_length=MAX_INPUTS), Tag("(many texts)")]
    | Annotated[list[InputIds], Field(min_length=1, max_length=MAX_INPUTS), Tag("(many ids)")],
    Discriminator(inputs_tag),
]


class EmbeddingBody(WireModel):
    """POST /v1/embeddings. Every optional field may also be null."""

    model: Annotated[str, Field(max_length=256)] | None = None
    input: Input
    encoding_format: Format | None = None
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)] | None = None


def parse_embedding(incoming: Incoming) -> Call:
    """All inputs of a body are one request, so that the engine can batch them as it likes."""
    refuse_fields(incoming.body)
    body = check(EmbeddingBody, incoming.body)
    texts, ids = _inputs(body.input)
    request = EmbeddingRequest(
        model=model_name(body.model, incoming), texts=texts, ids=ids, dimensions=body.dimensions
    )
    renderer = EmbeddingRenderer(
        model=body.model or request.model, encoding_format=body.encoding_format or "float"
    )
    return Call(requests=(request,), renderer=renderer)


def _inputs(given: Any) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The inputs as texts or as ids; the schema has told the four forms apart."""
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    if isinstance(given[0], str):
        check_length(sum(len(text) for text in given), "input")
        return tuple(given), ()
    if sum(len(ids) for ids in given) > MAX_IDS:
        raise ContextTooLong(
            f"`input` may have at most {MAX_IDS:,} token ids in all. Send it in several requests.",
            param="input",
        )
    return (), tuple(tuple(ids) for ids in given)


class EmbeddingRenderer:
    """Renders one list of vectors. There is nothing to stream: the whole list is one event."""

    stream_content_type = sse.CONTENT_TYPE

    def __init__(self, *, model: str, encoding_format: Format) -> None:
        """`model` is echoed as the caller wrote it; base64 is of little-endian float32, as OpenAI's clients read it."""
        self._model = model
        self._write = _as_base64 if encoding_format == "base64" else _as_numbers
        self._outcome = Outcome()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The list, in the order of the inputs."""
        return Reply(body=self._body(outcomes[0]))

    def _body(self, outcome: Outcome) -> bytes:
        # Vector by vector, because as Python's numbers all of them at once take many times the memory.
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%s}' % (one.index, self._write(one))
            for one in sorted(outcome.embeddings, key=lambda one: one.index)
        )
        tokens = outcome.finished.usage.prompt_tokens
        usage = sse.encode_json({"prompt_tokens": tokens, "total_tokens": tokens})
        model = sse.encode_json(self._model)
        return b'{"object":"list","data":[%s],"model":%s,"usage":%s}' % (data, model, usage)

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: the list is complete only at the end."""
        self._outcome.add(event)
        return b""

    def end(self) -> bytes:
        """The whole list as one event."""
        return b"data: " + sse.escape_breaks(self._body(self._outcome)) + b"\n\n"

    def failure(self, error: QuintetError) -> bytes:
        """An error event."""
        return sse.data({"error": error_object(error, "openai")})


def _as_numbers(embedding: Embedding) -> bytes:
    return sse.encode_json(struct.unpack(f"<{len(embedding.vector) // 4}f", embedding.vector))


def _as_base64(embedding: Embedding) -> bytes:
    return b'"' + base64.b64encode(embedding.vector) + b'"'
