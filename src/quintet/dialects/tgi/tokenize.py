"""/tokenize and /chat_tokenize: the tokens of a prompt, without generating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.content import Image
from quintet.core.errors import QuintetError, Unsupported
from quintet.core.events import Event, Outcome, TokenSpan
from quintet.core.requests import TokenizeRequest
from quintet.dialects import sse
from quintet.dialects.base import Call, Incoming, Reply
from quintet.dialects.conversation import check_length, to_messages
from quintet.dialects.tgi.parse import check_inputs, model_name
from quintet.dialects.tgi.wire import ChatTokenizeBody, GenerateBody
from quintet.dialects.validation import check


def parse_tokenize(incoming: Incoming) -> Call:
    """POST /tokenize takes the body of /generate, and looks at `inputs` alone."""
    body = check(GenerateBody, incoming.body)
    check_inputs(body.inputs)
    check_length(len(body.inputs), "inputs")
    request = TokenizeRequest(
        model=model_name(incoming),
        prompt=body.inputs,
        add_special_tokens=body.add_special_tokens is not False,
    )
    return Call(requests=(request,), renderer=TokenizeRenderer(chat=False))


def parse_chat_tokenize(incoming: Incoming) -> Call:
    """POST /chat_tokenize takes the body of a chat completion."""
    body = check(ChatTokenizeBody, incoming.body)
    messages = to_messages(body.messages)
    if any(isinstance(part, Image) for message in messages for part in message.parts):
        raise Unsupported("`messages` must not hold pictures here. Send text alone.", param="messages")
    model = body.model if body.model not in (None, "tgi") else model_name(incoming)
    request = TokenizeRequest(model=model or "", messages=messages)
    return Call(requests=(request,), renderer=TokenizeRenderer(chat=True))


class TokenizeRenderer:
    """Renders token lists. There is nothing to stream: the whole list is one event."""

    stream_content_type = sse.CONTENT_TYPE

    def __init__(self, *, chat: bool) -> None:
        """`chat` adds the conversation as the model reads it."""
        self._chat = chat
        self._outcome = Outcome()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The list of tokens."""
        return Reply(body=sse.encode_json(self._answer(outcomes[0])))

    def _answer(self, outcome: Outcome) -> object:
        tokenized = outcome.tokenized
        spans = [] if tokenized is None else [_span(span) for span in tokenized.tokens]
        if not self._chat:
            return spans
        return {"tokenize_response": spans, "templated_text": "" if tokenized is None else tokenized.text}

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: the list is complete only at the end."""
        self._outcome.add(event)
        return b""

    def end(self) -> bytes:
        """The whole list as one event."""
        return sse.data(self._answer(self._outcome))

    def failure(self, error: QuintetError) -> bytes:
        """An event in the form that TGI's clients raise on."""
        return sse.data({"error": error.message, "error_type": error.tgi_type})


def _span(span: TokenSpan) -> dict[str, Any]:
    return {"id": span.id, "text": span.text, "start": span.start, "stop": span.end}
