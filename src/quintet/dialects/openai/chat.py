"""Answers of /v1/chat/completions, whole and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.content import ToolCall
from quintet.core.errors import QuintetError
from quintet.core.events import Choice, Event, Finished, Outcome, Stopped, Token, ToolCallPart, Usage
from quintet.core.requests import TextRequest
from quintet.dialects import sse
from quintet.dialects.base import Incoming, Reply
from quintet.dialects.errors import error_object
from quintet.dialects.openai.logprobs import REASONS, chat_entry
from quintet.dialects.openai.usage import FINGERPRINT, usage_object


class ChatRenderer:
    """Renders one chat completion. Everything constant in a stream is encoded once, when it begins."""

    stream_content_type = sse.CONTENT_TYPE

    def __init__(
        self,
        *,
        incoming: Incoming,
        request: TextRequest,
        model: str,
        include_usage: bool,
        role_everywhere: bool,
    ) -> None:
        """`model` is echoed as the caller wrote it; `role_everywhere` repeats the role in every delta."""
        self._n = request.n  # not the request: pictures in it need not wait for the end of the answer
        self._include_usage = include_usage
        self._facts = {
            "id": f"chatcmpl-{incoming.request_id}",
            "created": incoming.created,
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        head = sse.encode_json({"object": "chat.completion.chunk", **self._facts})[:-1]
        self._head = b"data: " + sse.escape_breaks(head) + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._role = b'"role":"assistant",' if role_everywhere else b""
        self._before_text = tuple(
            self._head + b'{"index":%d,"delta":{' % choice + self._role + b'"content":'
            for choice in range(request.n)
        )
        self._after_text = b',"tool_calls":null},"logprobs":null,"finish_reason":null}' + self._tail
        self._opened = bytearray(request.n)
        self._lacks_content = bytearray(request.n)
        """Choices that were opened without content, because a call may be all there is."""
        self._wants_logprobs = request.detail.logprobs
        self._may_call = request.tool_use is not None and request.tool_use.choice != "none"
        self._usage = Usage()

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The whole answer as one JSON object."""
        outcome = outcomes[0]
        body = {
            "object": "chat.completion",
            **self._facts,
            "choices": [self._choice(i, outcome.choice(i)) for i in range(self._n)],
            "usage": usage_object([outcome.finished.usage]),
        }
        return Reply(body=sse.encode_json(body))

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        logprobs = None
        if self._wants_logprobs:
            logprobs = {"content": [chat_entry(token) for token in choice.tokens], "refusal": None}
        return {
            "index": index,
            "message": {
                "role": "assistant",
                "content": choice.text or (None if choice.tool_calls else ""),
                "refusal": None,
                "tool_calls": [_call(call) for call in choice.tool_calls] or None,
            },
            "logprobs": logprobs,
            "finish_reason": REASONS[choice.reason],
        }

    def event(self, index: int, event: Event) -> bytes:
        """One chunk per token that shows something, one when a choice ends."""
        if type(event) is Token:
            return self._token(event)
        if type(event) is ToolCallPart:
            return self._call_part(event)
        if type(event) is Stopped:
            return self._stopped(event)
        if type(event) is Finished:
            self._usage = event.usage
        return b""

    def _token(self, token: Token) -> bytes:
        text = token.text
        if self._may_call:
            if not text:
                return self._silent(token)
            self._lacks_content[token.choice] = 0
        opening = b"" if self._opened[token.choice] else self._open(token.choice)
        if self._wants_logprobs:
            delta = {"content": text, "tool_calls": None}
            return opening + self._chunk(token.choice, delta, None, [chat_entry(token)])
        if not text:
            return opening
        return opening + self._before_text[token.choice] + sse.encode_text(text) + self._after_text

    def _silent(self, token: Token) -> bytes:
        """A token that shows nothing: maybe a call begins, and then there is no text at all."""
        if not self._wants_logprobs:
            return b""
        opening = b""
        if not self._opened[token.choice]:
            opening = self._open(token.choice, None)
            self._lacks_content[token.choice] = 1
        return opening + self._chunk(token.choice, {"tool_calls": None}, None, [chat_entry(token)])

    def _call_part(self, part: ToolCallPart) -> bytes:
        opening = b"" if self._opened[part.choice] else self._open(part.choice, None)
        self._lacks_content[part.choice] = 0
        call: dict[str, Any] = {"index": part.index}
        if part.id:
            call |= {"id": part.id, "type": "function"}
            call["function"] = {"name": part.name, "arguments": part.arguments}
        else:
            call["function"] = {"arguments": part.arguments}
        return opening + self._chunk(part.choice, {"tool_calls": [call]}, None, None)

    def _open(self, choice: int, content: str | None = "") -> bytes:
        self._opened[choice] = 1
        return self._chunk(choice, {"role": "assistant", "content": content, "tool_calls": None}, None, None)

    def _stopped(self, event: Stopped) -> bytes:
        opening = b"" if self._opened[event.choice] else self._open(event.choice)
        delta: dict[str, Any] = {"tool_calls": None}
        if self._lacks_content[event.choice]:
            delta["content"] = ""
        return opening + self._chunk(event.choice, delta, REASONS[event.reason], None)

    def _chunk(
        self, choice: int, delta: dict[str, Any], reason: str | None, entries: list[dict[str, Any]] | None
    ) -> bytes:
        if self._role:
            delta = {"role": "assistant", **delta}
        logprobs = None if entries is None else {"content": entries, "refusal": None}
        value = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._head + sse.escape_breaks(sse.encode_json(value)) + self._tail

    def end(self) -> bytes:
        """The usage chunk, if asked for, and the end mark."""
        if not self._include_usage:
            return sse.DONE
        usage = sse.encode_json(usage_object([self._usage]))
        return self._head + b'],"usage":' + usage + b"}\n\n" + sse.DONE

    def failure(self, error: QuintetError) -> bytes:
        """An error event; the missing end mark tells the rest."""
        return sse.data({"error": error_object(error, "openai")})


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
