"""One request on its way through a foreign server: a coroutine that turns HTTP into outputs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from quintet.core.errors import LoadFailed, ModelNotFound, Unsupported
from quintet.core.events import Event
from quintet.core.models import Model
from quintet.core.requests import TASKS, EmbeddingRequest, Request, TextRequest, TokenizeRequest
from quintet.engines.upstream.answers import Answer
from quintet.engines.upstream.body import Asking, asking_of, refusal
from quintet.engines.upstream.client import Client
from quintet.engines.upstream.flavours import Served
from quintet.engines.upstream.spans import read_tokens, tokenize_body
from quintet.engines.upstream.sse import malformed
from quintet.engines.upstream.vectors import read_vectors, vectors_body

Work = Asking | TokenizeRequest | EmbeddingRequest
"""What `prepare` makes of a request."""


def work_of(request: Request, model: Model, served: Served) -> Work:
    """The work of a request; raises Unsupported or InvalidRequest."""
    if model.task not in TASKS[type(request)]:
        raise Unsupported(f"This model is for {model.task}; choose one for what you ask.", param="model")
    match request:
        case TextRequest():
            return asking_of(request, served.flavour, served.model or model.name, model.default_new_tokens)
        case TokenizeRequest():
            if not served.flavour.tokenizes:
                raise Unsupported("The server behind this model doesn't show tokens.", param="model")
            if request.messages and served.flavour.name != "llama.cpp":
                raise refusal("messages")
            return request
        case EmbeddingRequest():
            return request
        case _:
            raise Unsupported(
                "The server behind this model is for text. Choose another model.", param="model"
            )


@dataclass(frozen=True, slots=True)
class Errand:
    """How work is done at one server."""

    client: Client
    model: Model
    served: Served

    def run(self, work: Work) -> AsyncGenerator[Event]:
        """The events of one request; raises QuintetError. Closing the generator closes the connection."""
        match work:
            case Asking():
                return self._generate(work)
            case TokenizeRequest():
                return self._tokenize(work)
            case EmbeddingRequest():
                return self._embed(work)

    async def _generate(self, asking: Asking) -> AsyncGenerator[Event]:
        answer = Answer(asking, self.served.context_length)
        asked = time.monotonic()
        begun: float | None = None
        async with aclosing(self._stream(asking)) as chunks:
            async for chunk in chunks:
                events = answer.take(chunk)
                if events and begun is None:
                    begun = time.monotonic()
                for event in events:
                    yield event
                if answer.has_stopped_itself:
                    break
        begun = begun or time.monotonic()
        yield answer.end(begun - asked, time.monotonic() - begun)

    async def _stream(self, asking: Asking) -> AsyncGenerator[dict[str, Any]]:
        try:
            async with aclosing(self.client.stream(asking.path, asking.body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except LoadFailed as error:
            if asking.request.adapter and error.code == "upstream_model_not_found":  # the caller's word, then
                raise ModelNotFound(
                    "The server behind this model has no such adapter. Ask its operator for the names.",
                    param="model",
                ) from None
            raise

    async def _tokenize(self, request: TokenizeRequest) -> AsyncGenerator[Event]:
        text = request.prompt
        if request.messages:
            said = [{"role": message.role, "content": message.text} for message in request.messages]
            rendered = (await self.client.ask("/apply-template", {"messages": said}, at_root=True)).get(
                "prompt"
            )
            if not isinstance(rendered, str):
                raise malformed()
            text = rendered
        is_llama = self.served.flavour.name == "llama.cpp"
        name = self.served.model or self.model.name
        body: dict[str, Any] = tokenize_body(request, text, is_llama=is_llama, model=name)
        for event in read_tokens(await self.client.ask("/tokenize", body, at_root=True), text):
            yield event

    async def _embed(self, request: EmbeddingRequest) -> AsyncGenerator[Event]:
        body = vectors_body(request, self.served.model or self.model.name)
        for event in read_vectors(request, await self.client.ask("/embeddings", body)):
            yield event
